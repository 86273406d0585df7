"""What can be measured without a ground truth: do real composites look more natural afterwards, and are photographs left alone?

Two questions, each asked of every method on images that training never saw:

- Real composites: a probe (appearance_probe.py), trained on the training split's photographs, scores them before and after. 0 is the
  mean of natural photographs of the test split (of the same kinds of objects, where labels tell), the unit their standard deviation. Near 0
  is the goal; above it the object matches its surroundings better than objects in photographs do, which is what a method gets that simply
  equates statistics.
- Natural photographs with their own masks need nothing: whatever a method changes there, it spoils.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from attune.images import read_image, read_mask, resize_image
from models.harmonizer import Harmonizer
from tasks.color.difference import foreground_mse
from tasks.evaluation.appearance_probe import Looks, Probe, exchange_surroundings, measure_looks, train_probe
from tasks.evaluation.haze import Haze, ToneChange, summarize_haze, tone_changes
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, NOTICED, VISIBLE
from tasks.evaluation.methods import Methods, harmonize_batch, harmonizer_alone
from tasks.evaluation.metrics import change_inside, cie76_inside
from tasks.evaluation.statistics import auc_interval, auc_of, bootstrap_interval, bootstrap_median
from tasks.index import read_index, read_real_composites
from tasks.params import Params
from tasks.seeds import numpy_generator
from tasks.shards import MANIFEST, ShardFolder, decode_composite

SIZE = 256  # px, square: what methods see and what is scored
FEWEST = 20  # images, of which anything is said
_TRAINING = 5  # times the images of each kind: photographs that the probe learns from
_NUM_THREADS = 2

Image = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


@dataclass(frozen=True)
class Scene:
    """An image to be harmonized, at SIZE."""

    group: str  # the photograph: images of one group are not independent
    image: Image
    mask: Mask
    looks: Looks


@dataclass(frozen=True)
class ProbeQuality:
    """Whether the probe can tell: areas under its ROC curve on untouched images it never saw, with 95 % intervals. 0.5 is blind."""

    composites: str  # brought | mined
    num_training: int  # photographs
    num_natural: int
    num_composites: int
    auc: float  # photographs against these composites
    low: float
    high: float
    exchanged_auc: float  # photographs against the same objects with each other's surroundings
    exchanged_low: float
    exchanged_high: float


@dataclass(frozen=True)
class CompositeScore:
    """What the probe says of one method's real composites."""

    score: float  # mean; 0 is natural
    low: float  # 95 % interval of that mean
    high: float
    gain: float  # mean of score minus the untouched composite's
    gain_low: float
    gain_high: float
    auc: float  # natural photographs against these: 0.5 is the goal, below it is matched beyond nature
    num_images: int


@dataclass(frozen=True)
class Disturbance:
    """What one method does to photographs that need nothing."""

    delta_e: float  # mean CIEDE2000 inside the mask, mean over photographs
    low: float
    high: float
    fmse: float  # mean squared change inside the mask, squared grey levels
    share_visible: float  # of the photographs whose mean CIEDE2000 is over VISIBLE
    median_cie76: float  # of the photographs' mean CIE76 inside the mask
    median_cie76_low: float
    median_cie76_high: float
    share_noticed: float  # of the photographs whose mean CIE76 is over NOTICED
    haze: Haze | None  # None where a region was too small in all of them
    num_images: int


@dataclass(frozen=True)
class Naturalness:
    """Both answers; where one could not be measured, `skipped` says why."""

    probe: ProbeQuality | None
    real_composites: Mapping[str, CompositeScore]
    natural_photographs: Mapping[str, Disturbance]
    skipped: Mapping[str, str]


def measure_naturalness(params: Params, methods: Methods) -> Naturalness:
    """Both answers for the baselines and for every network that needs no plate, on `evaluate.naturalness_images` images of each kind.

    Real composites are the brought ones (any split: nothing is trained on them); where there are none, mined ones of splits test and val.
    """
    able = Methods(methods.baselines, {}, {name: network for name, network in methods.networks.items() if not network.config.plate})
    skipped = {name: "needs a clean background, which these images do not have" for name in methods.networks if name not in able.networks}
    wanted = params.evaluate.naturalness_images
    photographs = _photographs(params, "test", wanted)
    disturbed = _measure_disturbance(able, photographs, params.seed) if len(photographs) >= FEWEST else {}
    if not disturbed:
        skipped["natural_photographs"] = f"{len(photographs)} usable photographs in the split test, at least {FEWEST} are needed"
    training, (kind, composites, labels) = _photographs(params, "train", _TRAINING * wanted), _real_composites(params)
    alike = _photographs(params, "test", wanted, labels)
    natural = alike if len(alike) >= FEWEST else photographs
    counts = {"training photographs": len(training), "test photographs": len(natural), "real composites": len(composites)}
    if lacking := [f"{count} usable {name}" for name, count in counts.items() if count < FEWEST]:
        skipped["real_composites"] = f"{', '.join(lacking)}, at least {FEWEST} are needed"
        return Naturalness(None, {}, disturbed, skipped)
    probe = train_probe([scene.looks for scene in training], numpy_generator(params.seed, "naturalness", "probe"))
    quality, scored = _measure_composites(probe, able, natural, composites, params.seed)
    return Naturalness(ProbeQuality(kind, len(training), len(natural), len(composites), *quality), scored, disturbed, skipped)


def photographs_changed(params: Params, model: Harmonizer) -> Disturbance | None:
    """What any harmonizer does to photographs that need nothing: the figures that `measure_naturalness` gives the stage's own.

    None if it takes a plate, which photographs do not have, or there are fewer than `FEWEST` usable photographs in the test split.
    """
    photographs = [] if model.config.plate else _photographs(params, "test", params.evaluate.naturalness_images)
    if len(photographs) < FEWEST:
        return None
    return _measure_disturbance(harmonizer_alone(model), photographs, params.seed)[HARMONIZED]


def as_json(found: Naturalness) -> dict[str, Any]:
    """The fields of Naturalness, nested, numbers to six significant digits; for `metrics/naturalness.json`."""
    rounded: dict[str, Any] = _rounded(asdict(found))
    return rounded


# --- Images -----------------------------------------------------------------------------------------------------------------------------


def _photographs(params: Params, split: str, wanted: int, labels: frozenset[str] | None = None) -> list[Scene]:
    """At most `wanted` photographs of a split, of objects with one of `labels` where these are given.

    Where there are none, as with published pairs alone, the pairs' targets: photographs as they were taken, each with one of its masks.
    """
    rows, column = read_index(params.paths.index, "photographs", split=split), "image_path"
    if not rows:
        pairs, column = read_index(params.paths.index, "pairs", split=split), "target_path"
        rows = list({row["group"]: row for row in pairs}.values())
    rows = [row for row in rows if labels is None or row["label"] in labels]
    return _read_some(rows, column, params, wanted=wanted, name=f"photographs {split}")


def _real_composites(params: Params) -> tuple[str, list[Scene], frozenset[str] | None]:
    """Whose they are, the real composites, and the labels of their objects; None where they are the photographs' own."""
    brought, wanted = read_real_composites(params.paths.index), params.evaluate.naturalness_images
    if brought:
        found = _read_some(brought, "composite_path", params, wanted=wanted, name="composites")
        return "brought", found, frozenset(row["label"] for row in brought if row["label"])
    scenes: list[Scene | None] = []
    if not (params.paths.mined / MANIFEST).is_file():
        return "mined", [], None
    for split in ("test", "val"):
        with ShardFolder(params.paths.mined, split) as folder:
            for number in range(len(folder)):
                sample = decode_composite(folder.read(number), name=folder.name(number))
                scenes.append(_scene(sample.key, sample.composite, sample.mask))
    return "mined", [scene for scene in scenes if scene is not None][:wanted], None


def _read_some(rows: Sequence[Mapping[str, Any]], column: str, params: Params, *, wanted: int, name: str) -> list[Scene]:
    """At most `wanted` scenes with enough foreground and background for statistics, drawn by lot."""
    limit = params.ingest.max_megapixels

    def read(number: int) -> Scene | None:
        row = rows[number]
        image = read_image(Path(row[column]), max_megapixels=limit)
        return _scene(row["group"], image, read_mask(Path(row["mask_path"]), max_megapixels=limit))

    drawn = numpy_generator(params.seed, "naturalness", name).permutation(len(rows))[:wanted]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return [scene for scene in pool.map(read, drawn.tolist()) if scene is not None]


def _scene(group: str, image: Image, mask: Mask) -> Scene | None:
    """The scene squashed to SIZE; None if foreground or background is too small for statistics."""
    image, mask = resize_image(image, SIZE, SIZE), resize_image(mask, SIZE, SIZE)
    looks = measure_looks(image, mask)
    return Scene(group, image, mask, looks) if looks is not None else None


def _answers(methods: Methods, scene: Scene) -> dict[str, Image]:
    """Each method's picture of a scene."""
    found = {name: baseline(scene.image, scene.mask) for name, baseline in methods.baselines.items()}
    for name, network in methods.networks.items():
        found[name] = harmonize_batch(network, scene.image[None], scene.mask[None])[0]
    return found


# --- Measuring --------------------------------------------------------------------------------------------------------------------------


def _measure_composites(
    probe: Probe, methods: Methods, photographs: Sequence[Scene], composites: Sequence[Scene], seed: int
) -> tuple[tuple[float, ...], dict[str, CompositeScore]]:
    """The AUCs of ProbeQuality in its order, and each method's score."""
    looks = [scene.looks for scene in photographs]
    raw = probe.scores(looks)
    middle, unit = float(raw.mean()), float(raw.std())

    def score(looks: Sequence[Looks]) -> Float[np.ndarray, " N"]:
        return (probe.scores(looks) - middle) / unit

    natural, groups = score(looks), [scene.group for scene in composites]
    after_all: dict[str, list[Looks]] = {}
    for scene in composites:
        for name, answer in _answers(methods, scene).items():
            looks_after = measure_looks(answer, scene.mask)
            assert looks_after is not None  # the mask is the same, and was large enough
            after_all.setdefault(name, []).append(looks_after)
    scores = {name: score(each) for name, each in after_all.items()}
    before = scores[COMPOSITE]
    exchanged = score(exchange_surroundings(looks, numpy_generator(seed, "naturalness", "exchanged")))
    drawn = numpy_generator(seed, "naturalness", "auc")
    quality = (*auc_interval(natural, before, drawn), *auc_interval(natural, exchanged, drawn))
    rows = {}
    for name, after in scores.items():
        limits, gains = (
            bootstrap_interval(values.tolist(), numpy_generator(seed, "naturalness", "composites"), groups=groups)
            for values in (after, after - before)
        )
        rows[name] = CompositeScore(
            float(after.mean()), *limits, float((after - before).mean()), *gains, auc_of(natural, after), len(composites)
        )
    return quality, rows


def _measure_disturbance(methods: Methods, photographs: Sequence[Scene], seed: int) -> dict[str, Disturbance]:
    changes: dict[str, list[_Change]] = {}
    for scene in photographs:
        answers = _answers(methods, scene)
        tones = tone_changes(scene.image, answers, scene.mask)
        for name, answer in answers.items():
            if name != COMPOSITE:  # which changes nothing by what it is
                changes.setdefault(name, []).append(_change(scene, answer, tones.get(name)))
    return {name: _disturbance(each, [scene.group for scene in photographs], seed) for name, each in changes.items()}


@dataclass(frozen=True)
class _Change:
    """What one method did to one photograph, inside the mask."""

    delta_e: float
    cie76: float
    fmse: float
    tones: ToneChange | None


def _change(scene: Scene, answer: Image, tones: ToneChange | None) -> _Change:
    before, mask = scene.image, scene.mask
    fmse = foreground_mse(answer, before, mask)
    return _Change(change_inside(before, answer, mask), cie76_inside(before, answer, mask), fmse, tones)


def _disturbance(changes: Sequence[_Change], groups: Sequence[str], seed: int) -> Disturbance:
    delta_e, cie76 = [change.delta_e for change in changes], [change.cie76 for change in changes]
    limits = bootstrap_interval(delta_e, numpy_generator(seed, "naturalness", "disturbed"), groups=groups)
    middle = bootstrap_median(cie76, numpy_generator(seed, "naturalness", "cie76"), groups=groups)
    tones = {place: change.tones for place, change in enumerate(changes) if change.tones is not None}
    haze_rng = numpy_generator(seed, "naturalness", "haze")
    return Disturbance(
        delta_e=float(np.mean(delta_e)), low=limits[0], high=limits[1], fmse=float(np.mean([change.fmse for change in changes])),
        share_visible=float(np.mean(np.array(delta_e) > VISIBLE)),
        median_cie76=float(np.median(cie76)), median_cie76_low=middle[0], median_cie76_high=middle[1],
        share_noticed=float(np.mean(np.array(cie76) > NOTICED)),
        haze=summarize_haze(list(tones.values()), haze_rng, groups=[groups[place] for place in tones]) if tones else None,
        num_images=len(changes),
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
