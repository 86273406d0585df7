"""The embedded default: photographs that come with installed packages, and rendered scenes. No download; wholly determined by `seed`.

    <paths.starter>/photographs/<name>.png            shrunk to ingest.starter.max_side
    <paths.starter>/masks/<name>_<k>.png              object k, painted from the outline in starter_objects.json
    <paths.starter>/retouched/<name>_<k>.png          a training photograph, retouched whole
    <paths.starter>/scenes/<number>/{composite,target,mask}.png
    <paths.starter>/scenes.json                       the lights of each scene
    <paths.starter>/manifest.json                     written last: all else is there

The outlines are the project's own drawings, in shares of the photograph's width and height. Two photographs are test, one is validation.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from attune.files import clear_folder, read_json, write_bytes, write_json
from attune.images import encode_png, read_image, shrink_to
from attune.unit_keys import unit_key
from tasks.color.difference import foreground_mse
from tasks.color.recolor import apply_retouch, random_retouch
from tasks.params import Params, Synthesis, key_params
from tasks.seeds import numpy_generator
from tasks.sources.candidates import Candidates, PairCandidate, PhotographCandidate, RetouchCandidate, describe_parameters
from tasks.sources.listing import safe_key
from tasks.sources.scenes import render_scene
from tasks.sources.source import Source

SOURCE = "starter"
METHOD = "rendered"
_LIGHTS = ("scene_light", "object_light", "camera_kelvin")
OBJECTS_FILE = Path(__file__).with_name("starter_objects.json")
SUBSAMPLES = 8  # per pixel and axis, when an outline is painted
GOLDEN = (5**0.5 - 1.0) / 2.0

Outline = tuple[tuple[float, float], ...]  # x, y in shares of width and height


@dataclass(frozen=True)
class StarterPhotograph:
    """A photograph inside an installed package."""

    package: str
    path: str
    split: str
    licence: str


@dataclass(frozen=True)
class StarterObject:
    """An object of a photograph."""

    label: str
    outline: Outline


PHOTOGRAPHS: dict[str, StarterPhotograph] = {
    "astronaut": StarterPhotograph("skimage", "data/astronaut.png", "train", "public domain (NASA)"),
    "chelsea": StarterPhotograph("skimage", "data/chelsea.png", "test", "CC0 (Stefan van der Walt)"),
    "china": StarterPhotograph("sklearn", "datasets/images/china.jpg", "train", "CC BY 2.0 (danielbuechele)"),
    "coffee": StarterPhotograph("skimage", "data/coffee.png", "test", "CC0 (Rachel Michetti)"),
    "flower": StarterPhotograph("sklearn", "datasets/images/flower.jpg", "val", "CC BY 2.0 (vultilion)"),
    "grace_hopper": StarterPhotograph("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "train", "public domain (US Navy)"),
    "motorcycle": StarterPhotograph("skimage", "data/motorcycle_left.png", "train", "CC0 (Daniel Scharstein)"),
    "rocket": StarterPhotograph("skimage", "data/rocket.jpg", "train", "CC0 (SpaceX)"),
}


# --- Listing ------------------------------------------------------------------------------------------------------------------------------


def list_starter(params: Params) -> Candidates:
    """Every photograph's object, every scene and every retouch of the starter, from the params alone; `write_starter` makes the files.

    A scene stands twice, in one group: as a photograph (its target) with the object's mask, and as a pair of the method "rendered", which
    tells the scene's lights once the files are made.
    """
    folder = params.paths.starter
    numbers = range(params.ingest.starter.num_scenes)
    photographs = [_object_candidate(folder, name, number) for name in PHOTOGRAPHS for number in range(len(starter_objects()[name]))]
    photographs += [_scene_photograph(folder, number, _scene_split(params, number)) for number in numbers]
    lights = _read_lights(folder / "scenes.json")
    pairs = [_scene_pair(folder, number, _scene_split(params, number), lights) for number in numbers]
    retouches = [
        _retouch_candidate(folder, name, number) for name in _training_names() for number in range(params.ingest.starter.num_retouches)
    ]
    return Candidates(photographs=tuple(photographs), pairs=tuple(pairs), retouches=tuple(retouches))


def _object_candidate(folder: Path, name: str, number: int) -> PhotographCandidate:
    photograph = PHOTOGRAPHS[name]
    return PhotographCandidate(
        key=safe_key(SOURCE, f"{name}_{number}"), source=SOURCE, subset="photographs", split=photograph.split, group=f"{SOURCE}/{name}",
        image_path=_photograph_path(folder, name).as_posix(), mask_path=_mask_path(folder, name, number).as_posix(),
        label=starter_objects()[name][number].label, licence=photograph.licence,
    )


def _scene_photograph(folder: Path, number: int, split: str) -> PhotographCandidate:
    scene = _scene_folder(folder, number)
    return PhotographCandidate(
        key=safe_key(SOURCE, f"scene-{scene.name}"), source=SOURCE, subset="scenes", split=split, group=f"{SOURCE}/scene-{scene.name}",
        image_path=(scene / "target.png").as_posix(), mask_path=(scene / "mask.png").as_posix(), label="object", licence="",
    )


def _read_lights(path: Path) -> dict[str, str]:
    """How each scene was lit, by its name, as the index keeps it; nothing where no scene is made yet."""
    described = read_json(path) if path.is_file() else []
    return {str(one["scene"]): describe_parameters({name: one[name] for name in _LIGHTS}) for one in described}


def _scene_pair(folder: Path, number: int, split: str, lights: Mapping[str, str]) -> PairCandidate:
    scene = _scene_folder(folder, number)
    return PairCandidate(
        key=safe_key(SOURCE, f"scene-{scene.name}"), source=SOURCE, subset="scenes", split=split, group=f"{SOURCE}/scene-{scene.name}",
        composite_path=(scene / "composite.png").as_posix(), mask_path=(scene / "mask.png").as_posix(),
        target_path=(scene / "target.png").as_posix(), label="object", method=METHOD, licence="",
        method_params=lights.get(scene.name),
    )


def _retouch_candidate(folder: Path, name: str, number: int) -> RetouchCandidate:
    photograph = PHOTOGRAPHS[name]
    owned = number % len(starter_objects()[name])
    return RetouchCandidate(
        key=safe_key(SOURCE, f"{name}_retouched_{number}"), source=SOURCE, subset="retouched", split=photograph.split,
        group=f"{SOURCE}/{name}", before_path=_photograph_path(folder, name).as_posix(),
        after_path=_retouched_path(folder, name, number).as_posix(),
        mask_path=_mask_path(folder, name, owned).as_posix(), label=starter_objects()[name][owned].label, licence=photograph.licence,
    )


def _scene_split(params: Params, number: int) -> str:
    """train, val or test, by steps of the golden ratio: the params' shares hold for any number of scenes, and more scenes move none."""
    position = (number * GOLDEN) % 1.0
    if position < params.ingest.test_share:
        return "test"
    return "val" if position >= 1.0 - params.ingest.val_share else "train"


def _training_names() -> list[str]:
    return [name for name, photograph in PHOTOGRAPHS.items() if photograph.split == "train"]


def _photograph_path(folder: Path, name: str) -> Path:
    return folder / "photographs" / f"{name}.png"


def _mask_path(folder: Path, name: str, number: int) -> Path:
    return folder / "masks" / f"{name}_{number}.png"


def _retouched_path(folder: Path, name: str, number: int) -> Path:
    return folder / "retouched" / f"{name}_{number}.png"


def _scene_folder(folder: Path, number: int) -> Path:
    return folder / "scenes" / f"{number:05d}"


# --- Outlines -----------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def starter_objects() -> dict[str, tuple[StarterObject, ...]]:
    """The objects of each photograph of `PHOTOGRAPHS`, in the order of starter_objects.json."""
    stored: dict[str, list[dict[str, Any]]] = json.loads(OBJECTS_FILE.read_text())
    return {
        name: tuple(StarterObject(str(one["label"]), tuple((float(x), float(y)) for x, y in one["outline"])) for one in objects)
        for name, objects in stored.items()
    }


def paint_outline(outline: Outline, height: int, width: int) -> UInt8[np.ndarray, "H W"]:
    """The mask (0..255) of a polygon given in shares of width and height: each pixel's share inside it, on `SUBSAMPLES` squared samples."""
    size = np.array([width, height]) * SUBSAMPLES
    fraction_bits = 4
    corners = np.rint((np.array(outline) * size - 0.5) * (1 << fraction_bits)).astype(np.int32)
    canvas = np.zeros((height * SUBSAMPLES, width * SUBSAMPLES), dtype=np.uint8)
    cv2.fillPoly(canvas, [corners], 255, shift=fraction_bits)
    shares = canvas.reshape(height, SUBSAMPLES, width, SUBSAMPLES).mean(axis=(1, 3), dtype=np.float32)
    return np.asarray(np.rint(shares).astype(np.uint8))


# --- Writing ------------------------------------------------------------------------------------------------------------------------------


def write_starter(params: Params) -> None:
    """Make all files of the starter below `paths.starter`, unless they are there for equal params, inputs and code.

    What was in that folder is removed first, the manifest is written last: a killed call leaves nothing that a next one takes for whole.
    Raises ValueError naming package and file if a photograph is not where its package should have it.
    """
    folder = params.paths.starter
    manifest = folder / "manifest.json"
    key = _content_key(params)
    if manifest.is_file() and read_json(manifest).get("key") == key:
        return
    clear_folder(folder)
    for name in PHOTOGRAPHS:
        _write_photograph(params, name)
    with ThreadPoolExecutor(params.speed.num_workers) as pool:
        described = list(pool.map(partial(_write_scene, params), range(params.ingest.starter.num_scenes)))
    write_json(folder / "scenes.json", described)
    write_json(manifest, {"key": key, "num_photographs": len(PHOTOGRAPHS), "num_scenes": len(described)})


def _write_photograph(params: Params, name: str) -> None:
    folder = params.paths.starter
    image = shrink_to(read_image(installed_file(PHOTOGRAPHS[name])), params.ingest.starter.max_side)
    write_bytes(_photograph_path(folder, name), encode_png(image))
    for number, thing in enumerate(starter_objects()[name]):
        write_bytes(_mask_path(folder, name, number), encode_png(paint_outline(thing.outline, image.shape[0], image.shape[1])))
    if PHOTOGRAPHS[name].split == "train":
        for number in range(params.ingest.starter.num_retouches):
            rng = numpy_generator(params.seed, SOURCE, "retouch", name, number)
            write_bytes(_retouched_path(folder, name, number), encode_png(_retouched(image, params.ingest.synthesis, rng)))


def _retouched(image: UInt8[np.ndarray, "H W 3"], limits: Synthesis, rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """`image` under a random retouch that neither leaves it as it is nor overdoes it, by the limits of synthesis; the last draw stands."""
    everywhere = np.full(image.shape[:2], 255, np.uint8)
    for _ in range(limits.max_attempts):
        result = apply_retouch(image, random_retouch(rng))
        if limits.min_fmse <= foreground_mse(result, image, everywhere) <= limits.max_fmse:
            break
    return result


def _write_scene(params: Params, number: int) -> dict[str, Any]:
    scene = render_scene(numpy_generator(params.seed, SOURCE, "scene", number), params.ingest.starter.scene_size)
    folder = _scene_folder(params.paths.starter, number)
    for name, image in (("composite", scene.composite), ("target", scene.target), ("mask", scene.mask)):
        write_bytes(folder / f"{name}.png", encode_png(image))
    return {
        "scene": folder.name, "split": _scene_split(params, number), "shape": scene.shape, "camera_kelvin": scene.camera_kelvin,
        "scene_light": asdict(scene.scene_light), "object_light": asdict(scene.object_light),
    }


def installed_file(photograph: StarterPhotograph) -> Path:
    """Where `photograph` lies; ValueError naming package and file if it does not. Imports nothing."""
    spec = find_spec(photograph.package)
    places: Sequence[str] = (spec.submodule_search_locations or ()) if spec else ()
    for place in places:
        if (path := Path(place) / photograph.path).is_file():
            return path
    raise ValueError(f"{photograph.package}: no file {photograph.path} in this package; install the project's pinned versions again")


def _content_key(params: Params) -> str:
    """A hash of all that the files depend on: params, photographs, outlines, and the code that makes them."""
    limits = (f"ingest.synthesis.{name}" for name in ("min_fmse", "max_fmse", "max_attempts"))
    values = key_params(params, "seed", "ingest.starter", "ingest.val_share", "ingest.test_share", *limits)
    photographs = [hashlib.sha256(installed_file(photograph).read_bytes()).hexdigest() for photograph in PHOTOGRAPHS.values()]
    return unit_key(write_starter, values, photographs)


DATA = Source(list_starter, layout="", make=write_starter)
