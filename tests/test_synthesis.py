"""Synthesis: what is measured is right, each bad result is rejected for its reason, strengths are the field's."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.color.recolor import Illuminants, Retouch, apply_retouch, illuminants_for
from tasks.color.transfer import TRANSFERS, bounding_box, paste
from tasks.ingestion import synthesis
from tasks.ingestion.synthesis import (
    Reason,
    choose_method,
    find_fault,
    measure_change,
    synthesize_composite,
)
from tasks.params import Weights, load_params

ROOT = Path(__file__).parents[1]
LIMITS = load_params(ROOT / "params.yaml").ingest.synthesis
GOOD = {"fmse": 900.0, "delta_e": 12.0, "hue_turned": 0.0, "clipped": 0.0, "gradient_ratio": 1.0}
NO_WEIGHTS = Weights(reinhard=0, xiao_ma=0, fecker=0, pitie=0, illuminant=0, retouch=0)


def scene(seed: int, height: int = 72, width: int = 96) -> np.ndarray:
    """Muted colours, shaded, with grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:1 : height * 1j, 0:1 : width * 1j]
    light = 1 + 0.35 * np.sin(rng.uniform(2, 6) * rows + rng.uniform(2, 6) * columns + seed)
    texture = 1 + 0.15 * np.sin(rng.uniform(20, 60) * (rows + columns))
    values = rng.uniform(70, 150) * (light * texture)[..., None] * rng.uniform(0.8, 1.2, 3) + rng.normal(0, 3, (height, width, 3))
    return np.clip(values, 3, 252).astype(np.uint8)


def disc(height: int = 72, width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.clip((0.7 - np.hypot(rows, columns)) * 2500 + 128, 0, 255).astype(np.uint8)


def two_lights() -> Illuminants:
    forward = np.zeros((2, 3, 11))
    gains = np.array([[1.25, 1.0, 0.7], [0.8, 1.0, 1.25]])
    forward[:, [0, 1, 2], [0, 1, 2]] = 1 / gains
    backward = np.zeros_like(forward)
    backward[:, [0, 1, 2], [0, 1, 2]] = gains
    return Illuminants(names=("warm", "cool"), to_standard=forward, from_standard=backward)


def synthesize(method: str, seed: int = 0, **changes):
    return synthesize_composite(
        scene(seed), disc(), scene(seed + 100), disc(), method=method, rng=np.random.default_rng(seed),
        limits=LIMITS.model_copy(update=changes), illuminants=two_lights(),
    )


# --- What is measured ---


def test_fmse_and_clipping_are_by_hand_and_of_the_foreground_only():
    target, mask = np.full((10, 10, 3), 100, np.uint8), np.zeros((10, 10), np.uint8)
    mask[2:4, 2:7] = 255
    mask[5, 2:7] = 127  # blended in, not measured
    composite = target.copy()
    composite[5] = 90
    composite[2, 2:7] = (110, 100, 80)
    composite[3, 2:4] = (255, 100, 100)
    composite[3, 4] = 0
    measured = measure_change(target, composite, mask)
    assert measured["fmse"] == pytest.approx((5 * (100 + 400) + 2 * 155**2 + 3 * 100**2) / 30)
    assert measured["clipped"] == pytest.approx(3 / 10)
    same = measure_change(target, target, mask)
    assert same == {"fmse": 0.0, "delta_e": 0.0, "hue_turned": 0.0, "clipped": 0.0, "gradient_ratio": 1.0}


def test_values_that_were_already_clipped_are_not_the_changes_fault():
    target, mask = np.full((8, 8, 3), 255, np.uint8), np.full((8, 8), 255, np.uint8)
    composite = target.copy()
    composite[..., 2] = 200
    assert measure_change(target, composite, mask)["clipped"] == 0.0


def test_the_gradient_ratio_is_that_of_contrast_and_ignores_the_outline():
    target, mask = scene(3), disc()
    mask[mask < 255] = 0
    stretched = target.copy()
    stretched[mask > 0] = np.clip((target[mask > 0].astype(int) - 100) // 2 + 100, 0, 255)
    assert measure_change(target, stretched, mask)["gradient_ratio"] == pytest.approx(0.5, abs=0.08)
    shifted = np.where(mask[..., None] > 0, target // 4 * 4, target).astype(np.uint8) // 2 + 20
    flat = np.where(mask[..., None] > 0, 20, 220) * np.ones((1, 1, 3), int)
    assert measure_change(flat.astype(np.uint8), (flat + 30).clip(0, 255).astype(np.uint8), mask)["gradient_ratio"] == pytest.approx(1.0)
    assert measure_change(target, shifted, mask)["gradient_ratio"] < 0.8


def test_turned_hues_are_counted_where_there_is_a_hue():
    target = np.full((4, 50, 3), (200, 140, 110), np.uint8)  # skin
    composite, mask = target.copy(), np.full((4, 50), 255, np.uint8)
    composite[:, :10] = (140, 200, 110)  # green
    composite[:, 10:20] = (150, 150, 150)  # grey
    composite[:, 20:30] = (220, 130, 90)  # warmer
    assert measure_change(target, composite, mask)["hue_turned"] == pytest.approx(0.2)


# --- Reasons ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"fmse": LIMITS.min_fmse - 1}, Reason.UNCHANGED),
        ({"delta_e": LIMITS.min_delta_e - 0.1}, Reason.UNCHANGED),
        ({"fmse": LIMITS.max_fmse + 1}, Reason.ABSURD),
        ({"delta_e": LIMITS.max_delta_e + 0.1}, Reason.ABSURD),
        ({"hue_turned": LIMITS.max_hue_turned + 0.01}, Reason.ABSURD),
        ({"clipped": LIMITS.max_clipped + 0.01}, Reason.CLIPPED),
        ({"gradient_ratio": LIMITS.max_gradient_ratio + 0.1}, Reason.BANDED),
        ({"gradient_ratio": 1 / LIMITS.max_gradient_ratio - 0.01}, Reason.BANDED),
    ],
)
def test_each_limit_has_its_reason(change, reason):
    assert find_fault({**GOOD, **change}, LIMITS) is reason


def test_a_reference_of_equal_colours_is_rejected_as_unchanged():
    for method in TRANSFERS:
        result = synthesize_composite(scene(1), disc(), scene(1), disc(), method=method, rng=np.random.default_rng(0), limits=LIMITS)
        assert result.reason is Reason.UNCHANGED
        assert result.composite is None


def test_a_glaring_reference_is_rejected():
    dark, glaring = (scene(1) // 4).astype(np.uint8), np.clip(scene(2).astype(int) * 4 - 200, 0, 255).astype(np.uint8)
    for method in TRANSFERS:
        result = synthesize_composite(dark, disc(), glaring, disc(), method=method, rng=np.random.default_rng(0), limits=LIMITS)
        assert result.reason in (Reason.ABSURD, Reason.CLIPPED, Reason.BANDED)


@pytest.mark.parametrize("method", [*TRANSFERS, "retouch", "illuminant"])
def test_tiny_regions_are_rejected_not_raised(method):
    tiny = np.zeros((72, 96), np.uint8)
    tiny[:5, :5] = 255
    result = synthesize_composite(
        scene(1), tiny, scene(2), disc(), method=method, rng=np.random.default_rng(0), limits=LIMITS, illuminants=two_lights()
    )
    assert (result.reason, result.composite, result.fmse) == (Reason.TINY, None, 0.0)
    if method in TRANSFERS:
        assert synthesize_composite(
            scene(1), disc(), scene(2), tiny, method=method, rng=np.random.default_rng(0), limits=LIMITS
        ).reason is Reason.TINY


def test_colours_that_no_measured_light_suits_are_rejected():
    nearly_black = (scene(1) // 60).astype(np.uint8)
    result = synthesize_composite(
        nearly_black, disc(), None, None, method="illuminant", rng=np.random.default_rng(0), limits=LIMITS, illuminants=two_lights()
    )
    assert result.reason is Reason.ABSURD
    assert "no measured change" in result.cause


# --- Composites ---


WIDE = {"min_fmse": 0.0, "max_fmse": 65025.0, "max_delta_e": 200.0, "min_delta_e": 0.0, "max_clipped": 1.0, "max_hue_turned": 1.0,
        "max_gradient_ratio": 1e6}


@pytest.mark.parametrize("method", [*TRANSFERS, "retouch", "illuminant"])
def test_a_composite_differs_inside_the_mask_only_and_is_repeatable(method):
    result, again = synthesize(method, 5, **WIDE), synthesize(method, 5, **WIDE)
    target, mask = scene(5), disc()
    assert result.composite is not None
    assert np.array_equal(result.composite[mask == 0], target[mask == 0])
    assert np.array_equal(result.composite, again.composite)
    assert (result.parameters, result.measured) == (again.parameters, again.measured)
    difference = result.composite[mask > 127].astype(float) - target[mask > 127]
    assert result.fmse == pytest.approx(np.mean(difference**2))
    assert result.fmse == result.measured["fmse"]


def test_a_retouch_is_made_again_from_its_parameters():
    result = synthesize_composite(
        scene(5), disc(), None, None, method="retouch", rng=np.random.default_rng(1), limits=LIMITS.model_copy(update=WIDE),
    )
    box = bounding_box(disc())
    changed = apply_retouch(scene(5)[box], Retouch(**result.parameters))
    assert np.array_equal(result.composite, paste(scene(5), disc(), box, changed.astype(np.float32)))


def test_a_retouch_and_an_illuminant_need_no_reference_and_tell_their_parameters():
    for method, keys in (("retouch", {"exposure", "temperature", "light", "curves"}), ("illuminant", {"first", "second"})):
        result = synthesize_composite(
            scene(5), disc(), None, None, method=method, rng=np.random.default_rng(1), limits=LIMITS.model_copy(update=WIDE),
            illuminants=two_lights(),
        )
        assert result.composite is not None
        assert keys <= set(result.parameters)


def test_user_faults_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="needs a reference"):
        synthesize_composite(scene(1), disc(), None, None, method="reinhard", rng=rng, limits=LIMITS)
    with pytest.raises(ValueError, match=r"ingest\.synthesis\.weights\.illuminant"):
        synthesize_composite(scene(1), disc(), None, None, method="illuminant", rng=rng, limits=LIMITS)
    with pytest.raises(ValueError, match="unknown method 'sepia'"):
        synthesize_composite(scene(1), disc(), None, None, method="sepia", rng=rng, limits=LIMITS)
    with pytest.raises(ValueError, match="the mask is"):
        synthesize_composite(scene(1), disc()[:50], None, None, method="retouch", rng=rng, limits=LIMITS)


# --- Choice ---


def test_methods_are_drawn_by_weight():
    weights = NO_WEIGHTS.model_copy(update={"reinhard": 1.0, "retouch": 3.0})
    rng = np.random.default_rng(0)
    drawn = [choose_method(rng, weights, has_reference=True) for _ in range(2000)]
    assert set(drawn) == {"reinhard", "retouch"}
    assert drawn.count("retouch") / 2000 == pytest.approx(0.75, abs=0.04)
    assert {choose_method(rng, weights, has_reference=False) for _ in range(50)} == {"retouch"}


def test_weights_of_nothing_name_their_key():
    with pytest.raises(ValueError, match=r"ingest\.synthesis\.weights: no method has"):
        choose_method(np.random.default_rng(0), NO_WEIGHTS, has_reference=True)
    only = NO_WEIGHTS.model_copy(update={"pitie": 1.0})
    with pytest.raises(ValueError, match="that needs no reference"):
        choose_method(np.random.default_rng(0), only, has_reference=False)


def test_illuminants_are_read_only_if_a_weight_asks_for_them(tmp_path):
    assert illuminants_for(0.0, tmp_path) is None
    with pytest.raises(ValueError, match=r"illuminants/ccharmony_coefficients\.zip.*weights\.illuminant"):
        illuminants_for(0.5, tmp_path)


def test_every_weight_has_its_method():
    assert set(Weights.model_fields) == {*TRANSFERS, "illuminant", "retouch"}
    for method in Weights.model_fields:
        assert synthesize(method, 7, **WIDE).method == method


# --- Strength ---


def draw_fmse(objects, weights, seed: int) -> np.ndarray:
    """Composite fMSE of kept composites, drawn as ingestion draws them."""
    kept = []
    for number, (target, mask, reference, reference_mask) in enumerate(objects):
        rng = np.random.default_rng([seed, number])
        for _ in range(LIMITS.max_attempts):
            method = choose_method(rng, weights, has_reference=reference is not None)
            result = synthesize_composite(target, mask, reference, reference_mask, method=method, rng=rng, limits=LIMITS)
            if result.composite is not None:
                kept.append(result.fmse)
                break
    return np.array(kept)


def test_retouches_of_generated_scenes_are_as_strong_as_the_fields():
    weights = NO_WEIGHTS.model_copy(update={"retouch": 1.0})
    found = draw_fmse([(scene(k), disc(), None, None) for k in range(60)], weights, 0)
    low, middle, high = np.percentile(found, [5, 50, 95])
    assert len(found) > 55
    assert 140 <= low <= 350
    assert 500 <= middle <= 1700
    assert 2000 <= high <= 7000


def read_object(photos, row, side=256):
    image = Image.open(photos / "images" / f"{row['image']}.jpg").convert("RGB")
    mask = Image.open(photos / "masks" / f"{row['mask']}.png").convert("L")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return tuple(np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in (image, mask))


@pytest.mark.slow
def test_composites_of_photographs_are_as_strong_as_the_fields(real_data):
    photos = real_data / "photos"
    with open(photos / "manifest.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if 0.005 <= float(row["fg_frac"]) <= 0.8]
    rng, objects = np.random.default_rng(11), []
    for row in (rows[k] for k in rng.choice(len(rows), 300, replace=False)):
        same = [other for other in rows if other["label"] == row["label"] and other["image"] != row["image"]]
        reference = read_object(photos, same[rng.integers(len(same))]) if same else (None, None)
        objects.append((*read_object(photos, row), *reference))
    low, middle, high = np.percentile(draw_fmse(objects, LIMITS.weights, 3), [5, 50, 95])
    # The span over HCOCO, HFlickr and HAdobe5k, and the sampling error of 300 draws.
    assert 177 * 0.9 <= low <= 229 * 1.15
    assert 738 * 0.9 <= middle <= 1402 * 1.1
    assert 3183 <= high <= 6997


def test_the_floor_of_gradients_keeps_flat_regions_from_being_banded():
    flat, mask = np.full((20, 20, 3), 100, np.uint8), np.full((20, 20), 255, np.uint8)
    dithered = flat.copy()
    dithered[::10, ::10] += 1
    assert measure_change(flat, dithered, mask)["gradient_ratio"] < 1.3
    assert synthesis.GRADIENT_FLOOR > 0
