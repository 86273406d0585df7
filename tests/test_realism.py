import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.index import PHOTOGRAPHS, read_table, write_table
from tasks.mine import plan_mine
from tasks.mining.compositing import Box, Contact, Placement, clean_plate, cut_object, paste
from tasks.mining.realism import border_features, measure_tell_tales, probe_auc
from tasks.mining.recipes import RECIPES
from tasks.params import Params


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = np.clip(120 + cv2.GaussianBlur(rng.normal(0, 60, (64, 64, 1)), (0, 0), 0.8)[..., None] * np.ones(3), 0, 255)
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, tuple(int(value) for value in rng.integers(26, 38, 2)), int(rng.integers(12, 18)), 255, -1)
    image[mask > 0] *= 0.7
    return image.round().astype(np.uint8), mask


def features(make: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], seeds: range) -> np.ndarray:
    return np.array([border_features(*make(*scene(seed))) for seed in seeds])


def untouched(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, mask


def repasted(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    plate = cv2.GaussianBlur(image, (0, 0), 2.0)
    plate = np.where(mask[..., None] > 0, plate, clean_plate(image, mask, method="telea", margin=3))
    box = Box(*(int(side) for side in (*np.argwhere(mask > 0).min(axis=0)[::-1], *(np.argwhere(mask > 0).max(axis=0)[::-1] + 1))))
    return paste(plate, cut_object(image, mask, placement=Placement(box, box, Contact()), choke=1.0, feather_sigma=1.0))


def test_the_probe_is_blind_to_equal_classes_and_sees_pasting() -> None:
    plain, pasted = features(untouched, range(60)), features(repasted, range(60))
    others, other_pasted = features(untouched, range(100, 140)), features(repasted, range(100, 140))
    half = plain[::2], plain[1::2]
    assert probe_auc((plain, pasted), (others, other_pasted), seed=0) > 0.9
    assert probe_auc(half, (others[::2], others[1::2]), seed=0) < 0.75  # 20 against 20: chance is 0.5 +- 0.09, of two tries the better


def test_the_features_ignore_contrast_and_smooth_fields() -> None:
    image, mask = scene(3)
    ramp = np.linspace(-20, 20, 64)[None, :, None]
    changed = np.clip(image * 0.8 + 20 + ramp, 0, 255).round().astype(np.uint8)
    before, after = border_features(image, mask), border_features(changed, mask)
    np.testing.assert_allclose(before, after, atol=0.12)


def test_the_features_are_those_of_grey_whatever_the_colour() -> None:
    image, mask = scene(4)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert border_features(image, mask) == pytest.approx(border_features(np.stack([grey] * 3, axis=2), mask), abs=0.02)


def read_objects(folder: Path) -> list[dict]:
    """The index rows of the photographs in `folder`."""
    with open(folder / "manifest.csv", newline="") as handle:
        listed = list(csv.DictReader(handle))
    return [{
        "key": row["mask"], "source": "photos", "subset": row["source"], "split": row["split"],
        "group": f"{row['source']}/{row['source_key']}",
        "image_path": str(folder / "images" / f"{row['image']}.jpg"), "mask_path": str(folder / "masks" / f"{row['mask']}.png"),
        "width": int(row["width"]), "height": int(row["height"]), "fg_ratio": float(row["fg_frac"]), "label": row["label"],
        "image_sha256": row["image"], "mask_sha256": row["mask"], "licence": row["licence"],
    } for row in listed]


@pytest.mark.slow
def test_the_border_gives_away_untouched_photographs_but_not_natural_samples(
    real_data: Path, tmp_path: Path, configure: Callable[..., Params]
) -> None:
    rows = [row for row in read_objects(real_data / "photos") if row["split"] != "train" or int(row["key"][-1]) == 0]
    write_table(tmp_path / "index" / "photographs.parquet", rows, PHOTOGRAPHS)
    params = configure({
        "paths.index": str(tmp_path / "index"), "paths.mined": str(tmp_path / "mined"), "paths.work": str(tmp_path / "work"),
        "mine.num_composites": 1500, "mine.size": 128, "train.model.architecture": "small", "train.model.size": 64,
    })
    plan_mine(params)
    auc = measure_tell_tales(read_table(params.paths.mined / "recipes.parquet", RECIPES), seed=0, num_workers=2)
    assert auc["untouched"] > 0.80
    assert auc["natural"] <= 0.60
