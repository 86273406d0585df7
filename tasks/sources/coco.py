"""COCO instance annotations: photographs with an object mask per annotation.

    <folder>/annotations/instances_<name>.json      one or more; <name> is train2017, val2017, ...
    <folder>/<name>/*.jpg                           the photographs; or below <folder>/images/<name>/, or in <folder>/images/

Any data set in COCO's format is read alike: polygons, and run lengths plain or compressed. Masks have no files of their own: each is
drawn once, as a PNG below `paths.prepared`, and from there on is a mask like any other. Crowds are passed over, and so are objects that
cover less than 1 % or more than 80 % of the photograph (HCOCO's rule, as its published masks have it): that is a choice, not a fault of the
data, and counted in `<paths.prepared>/coco/manifest.json`. COCO names no test set with masks: photographs are split by hash.
Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the format's description at cocodataset.org.
"""

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from attune.files import write_json
from attune.images import encode_png
from attune.rejects import BadSample, RejectReason
from tasks.params import Params
from tasks.sources.candidates import Candidates, ListingReject, PhotographCandidate
from tasks.sources.listing import check_inside, check_utf8, safe_key, source_folder
from tasks.sources.prepared import clear_others, is_up_to_date, time_made, write_prepared
from tasks.sources.source import Source

SOURCE = "coco"
PREFIX = "instances_"
LAYOUT = f"annotations/{PREFIX}<name>.json with the photographs in <name>/ or images/<name>/"
MIN_SHARE, MAX_SHARE = 0.01, 0.80  # of the photograph, both inclusive
OVERHANG = 2.0  # px: so far outside its photograph may a polygon's corner lie; it is cut there

Rle = dict[str, Any]  # {"size": [height, width], "counts": bytes}


@dataclass(frozen=True)
class Annotated:
    """What one annotation file says, by id."""

    path: Path
    images: Mapping[int, Mapping[str, Any]]
    labels: Mapping[int, str]
    licences: Mapping[int, str]
    annotations: tuple[Any, ...]

    @property
    def name(self) -> str:
        """train2017 of instances_train2017.json."""
        return self.path.stem.removeprefix(PREFIX)


def list_coco(params: Params) -> Candidates:
    """Every object of every annotation file in `ingest.folders.coco`, sorted by key, its mask drawn; broken annotations are rejects."""
    folder = source_folder(params, SOURCE, LAYOUT)
    files = sorted((folder / "annotations").glob(f"{PREFIX}*.json"))
    if not files:
        raise ValueError(f"ingest.folders.{SOURCE}: no {folder}/annotations/{PREFIX}*.json; expected {LAYOUT}")
    found: list[PhotographCandidate] = []
    rejects: list[ListingReject] = []
    counts: dict[str, dict[str, int]] = {}
    for file in files:
        annotated = read_annotations(file)
        objects, faults, passed = _list_objects(annotated, _image_folder(folder, annotated.name), params)
        _draw_masks(objects, time_made(_draw_masks, [file]), params.speed.num_workers)
        found += [candidate for candidate, _ in objects]
        rejects += faults
        counts[annotated.name] = {"annotations": len(annotated.annotations), "objects": len(objects), "rejects": len(faults), **passed}
    manifest = params.paths.prepared / SOURCE / "manifest.json"
    clear_others(manifest.parent, [manifest, *(Path(candidate.mask_path) for candidate in found)])
    write_json(manifest, counts)
    return Candidates(photographs=tuple(sorted(found, key=lambda one: one.key)), rejects=tuple(rejects))


def read_annotations(path: Path) -> Annotated:
    """An annotation file. ValueError naming it if it is no JSON in UTF-8, or has not lists of images, annotations and categories."""
    try:
        content = json.loads(path.read_bytes())
        images, annotations, categories = (content[name] for name in ("images", "annotations", "categories"))
        return Annotated(
            path=path, images={_id_of(image): image for image in images}, annotations=tuple(annotations),
            labels={_id_of(category): _name_of(category) for category in categories},
            licences={_id_of(licence): _name_of(licence) for licence in content.get("licenses") or []},
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not COCO's format: it needs lists of images, annotations and categories, each with a whole number as id ({error!r})"
        ) from error


def _id_of(entry: Mapping[str, Any]) -> int:
    if type(entry["id"]) is not int:
        raise TypeError(f"id {entry['id']!r}")
    return entry["id"]


def _name_of(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name", "")).encode(errors="replace").decode()  # JSON may hold half a surrogate pair, and no table can


def _image_folder(folder: Path, name: str) -> Path:
    places = (folder / name, folder / "images" / name, folder / "images")
    for place in places:
        if place.is_dir():
            return place
    raise ValueError(f"ingest.folders.{SOURCE}: photographs of {PREFIX}{name}.json in none of {', '.join(map(str, places))}")


def _list_objects(
    annotated: Annotated, images: Path, params: Params
) -> tuple[list[tuple[PhotographCandidate, Rle]], list[ListingReject], Counter[str]]:
    """The objects with their run lengths, the annotations that cannot be used, and how many were passed over and why."""
    objects: dict[str, tuple[PhotographCandidate, Rle]] = {}
    rejects = []
    passed: Counter[str] = Counter(crowd=0, too_small=0, too_large=0)
    masks = params.paths.prepared / SOURCE / annotated.name
    for number, annotation in enumerate(annotated.annotations):
        key = safe_key(SOURCE, f"{annotated.name}_{_shown_id(annotation, number)}")
        where = f"{annotated.path}#{_shown_id(annotation, number)}"
        try:
            image = _described(annotation, annotated, where, max_megapixels=params.ingest.max_megapixels)
            if annotation.get("iscrowd"):
                passed["crowd"] += 1
                continue
            rle = object_rle(annotation.get("segmentation"), image["height"], image["width"], where=where)
            share = float(run_lengths.area(rle)) / (image["height"] * image["width"])
            if not MIN_SHARE <= share <= MAX_SHARE:
                passed["too_small" if share < MIN_SHARE else "too_large"] += 1
                continue
            if key in objects:
                raise BadSample(RejectReason.DUPLICATE, where, "another annotation has the same id")
        except BadSample as bad:
            rejects.append(ListingReject(key, SOURCE, annotated.name, bad.path, bad.reason, bad.detail))
            continue
        objects[key] = PhotographCandidate(
            key=key, source=SOURCE, subset=annotated.name, split=None, group=f"{SOURCE}/{annotated.name}/{annotation['image_id']}",
            image_path=(images / image["file_name"]).as_posix(), mask_path=(masks / f"{key}.png").as_posix(),
            label=annotated.labels[annotation["category_id"]], licence=_licence(image, annotated),
        ), rle
    return list(objects.values()), rejects, passed


def _licence(image: Mapping[str, Any], annotated: Annotated) -> str:
    given = image.get("license")
    return annotated.licences.get(given, "") if type(given) is int else ""


def _shown_id(annotation: Any, number: int) -> str:
    """The annotation's id, or its place in the file where it has none."""
    given = annotation.get("id") if isinstance(annotation, dict) else None
    return str(given) if type(given) is int else f"number-{number}"


def _described(annotation: Any, annotated: Annotated, where: str, *, max_megapixels: float) -> Mapping[str, Any]:
    """The image of an annotation, with a name and a size that can be used; else BadSample."""
    if not isinstance(annotation, dict) or type(annotation.get("id")) is not int:
        raise BadSample(RejectReason.BAD_ANNOTATION, where, "no whole number as id")
    for kind, known in (("image_id", annotated.images), ("category_id", annotated.labels)):
        given = annotation.get(kind)
        if type(given) is not int or given not in known:
            raise BadSample(RejectReason.UNKNOWN_ID, where, f"{kind} is {given!r}, which the file does not describe")
    image = annotated.images[annotation["image_id"]]
    name, height, width = image.get("file_name"), image.get("height"), image.get("width")
    if not isinstance(name, str):
        raise BadSample(RejectReason.BAD_NAME, where, f"file_name is {name!r}")
    check_inside(name, annotated.path.parent.parent)
    check_utf8(name)
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise BadSample(RejectReason.BAD_ANNOTATION, where, f"{name} is said to be {width!r}x{height!r} px")
    if height * width > max_megapixels * 1e6:
        raise BadSample(RejectReason.TOO_LARGE, where, f"{width}x{height} px, over ingest.max_megapixels = {max_megapixels:g}")
    return image


# --- Masks ------------------------------------------------------------------------------------------------------------------------------


def object_rle(segmentation: Any, height: int, width: int, *, where: str) -> Rle:
    """The compressed run lengths of a segmentation of an image of that size: a list of polygons, or run lengths plain or compressed.

    where: for messages. BadSample if it breaks the format: what the C code behind `pycocotools` does with such is not defined.
    """
    try:
        if isinstance(segmentation, list) and segmentation:
            polygons = [_polygon(points, height, width) for points in segmentation]
            drawn: Rle = run_lengths.merge(run_lengths.frPyObjects(polygons, height, width))
            return drawn
        if isinstance(segmentation, dict):
            counts = segmentation["counts"]
            runs = _decompressed(counts) if isinstance(counts, str) else [int(count) for count in counts]
            if list(segmentation["size"]) != [height, width] or min(runs) < 0 or sum(runs) != height * width:
                raise ValueError(f"size {segmentation['size']} and {sum(runs)} px of runs, where the image has {[height, width]}")
            packed: Rle = run_lengths.frPyObjects({"size": [height, width], "counts": runs}, height, width)
            return packed
        raise ValueError("neither polygons nor run lengths")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadSample(RejectReason.BAD_ANNOTATION, where, f"segmentation: {error}") from error


def _polygon(points: Any, height: int, width: int) -> list[float]:
    values = np.asarray(points, np.float64)
    if values.ndim != 1 or values.size < 6 or values.size % 2:
        raise ValueError("a polygon has not three or more pairs of x and y")
    corners, limit = values.reshape(-1, 2), np.array([width, height])
    if not ((corners >= -OVERHANG) & (corners <= limit + OVERHANG)).all():  # false for NaN too
        raise ValueError(f"a corner lies outside the {width}x{height} px")
    clipped: list[float] = np.clip(corners, 0, limit).ravel().tolist()
    return clipped


def _decompressed(text: str) -> list[int]:
    """Run lengths of COCO's compressed form: five bits and a continuation bit per character, from the third on as a step from two before.

    `pycocotools` returns memory that it never wrote where runs are damaged: they are counted here before it sees them.
    """
    runs: list[int] = []
    value = place = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} is no character of compressed run lengths")
        value |= (bits & 0x1F) << place
        place += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << place
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = place = 0
    if place or not runs:
        raise ValueError("compressed run lengths end in the middle")
    return runs


def _draw_masks(objects: list[tuple[PhotographCandidate, Rle]], made_from: int, num_workers: int) -> None:
    """Write the masks that are not there yet, 0 or 255, where their candidates say."""

    def draw(one: tuple[PhotographCandidate, Rle]) -> None:
        candidate, rle = one
        path = Path(candidate.mask_path)
        if not is_up_to_date(path, made_from):
            write_prepared(path, encode_png(np.ascontiguousarray(run_lengths.decode(rle)) * np.uint8(255)), made_from=made_from)

    with ThreadPoolExecutor(num_workers) as pool:
        for _ in pool.map(draw, objects):
            pass


DATA = Source(list_coco, layout=LAYOUT)
