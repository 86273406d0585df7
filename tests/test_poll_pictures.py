from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from attune.images import encode_png, read_image, read_mask, resize_image
from tasks.evaluation.baselines import BASELINES, lab_shift
from tasks.evaluation.methods import Methods
from tasks.index import COMPOSITES, PHOTOGRAPHS, read_table, write_table
from tasks.mine import plan_mine
from tasks.mining.recipes import RECIPES, render_recipe
from tasks.params import Params
from tasks.poll.pictures import write_poll_pictures
from tasks.poll.turns import read_poll

Configure = Callable[..., Params]
BASELINES_ALONE = Methods(BASELINES, {}, {})
CHANGES = {"poll.methods": ["composite", "lab_shift"], "poll.num_images": 4, "poll.max_side": 96}


def silent(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def brought(project: Path, photograph: Callable[[int, int, int], np.ndarray], object_mask: Callable[..., np.ndarray]) -> Path:
    """Six real composites of 80 x 120 px; the mask of one is empty."""
    rows = []
    for number in range(6):
        mask = object_mask(80, 120) if number else np.zeros((80, 120), np.uint8)
        Path(f"c{number}.png").write_bytes(encode_png(photograph(80, 120, number)))
        Path(f"m{number}.png").write_bytes(encode_png(mask))
        rows.append({"key": f"real_{number}", "source": "composites", "split": "train", "group": str(number),
                     "composite_path": f"c{number}.png", "mask_path": f"m{number}.png", "width": 120, "height": 80, "fg_ratio": 0.2})
    write_table(Path("data/index/composites.parquet"), rows, COMPOSITES)
    return project


def test_pictures_are_what_the_methods_make_of_brought_composites(brought: Path, configure: Configure) -> None:
    assert write_poll_pictures(configure(CHANGES), BASELINES_ALONE, Path("pictures"), silent) == 4
    poll = read_poll(Path("pictures"))
    assert poll.methods == ("composite", "lab_shift")
    assert len(poll.images) == len(poll.masks) == 4
    assert "real_0" not in poll.images, "there is nothing to compare where the mask is empty"
    composite = read_image(poll.pictures["composite", poll.images[0]])
    assert composite.shape == (64, 96, 3)
    expected = lab_shift(composite, read_mask(poll.masks[poll.images[0]]))
    np.testing.assert_array_equal(read_image(poll.pictures["lab_shift", poll.images[0]]), expected)


def test_pictures_are_equal_again_and_other_methods_left_alone(brought: Path, configure: Configure) -> None:
    params, folder = configure(CHANGES), Path("pictures")
    write_poll_pictures(params, BASELINES_ALONE, folder, silent)
    before = read_poll(folder).digest
    (folder / "composite" / "stale.png").write_bytes(b"")
    (folder / "competitor").mkdir()
    (folder / "competitor" / "keep.txt").write_text("mine")
    write_poll_pictures(params, BASELINES_ALONE, folder, silent)
    assert (folder / "competitor" / "keep.txt").read_text() == "mine"
    (folder / "competitor" / "keep.txt").unlink()
    (folder / "competitor").rmdir()
    assert read_poll(folder).digest == before


def test_an_unknown_method_is_named(brought: Path, configure: Configure) -> None:
    with pytest.raises(ValueError, match=r"poll\.methods: 'ours' is none of composite, .*pictures/ours/<image>\.png"):
        write_poll_pictures(configure(CHANGES | {"poll.methods": ["composite", "ours"]}), BASELINES_ALONE, Path("pictures"), silent)


def objects(project: Path) -> None:
    """An index of twelve photographs of textured discs, 96 x 128 px, half of them in the split test, and no brought composite."""
    rows = []
    for number in range(12):
        rng = np.random.default_rng(number)
        image = cv2.resize(rng.uniform(40, 210, (12, 16, 3)), (128, 96), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 12, (96, 128, 3))
        mask = np.zeros((96, 128), np.uint8)
        cv2.circle(mask, (64, 48), 26, 255, -1)
        Path(f"p{number}.png").write_bytes(encode_png(np.clip(image, 0, 255).round().astype(np.uint8)))
        Path(f"q{number}.png").write_bytes(encode_png(mask))
        rows.append({"key": f"o{number}", "source": "photos", "split": "train" if number < 6 else "test", "group": str(number),
                     "image_path": f"p{number}.png", "mask_path": f"q{number}.png", "width": 128, "height": 96, "fg_ratio": 0.17,
                     "label": "disc", "image_sha256": str(number), "mask_sha256": str(number)})
    write_table(project / "data/index/photographs.parquet", rows, PHOTOGRAPHS)
    write_table(project / "data/index/composites.parquet", [], COMPOSITES)


def test_mined_composites_stand_in_larger_and_with_their_photographs_aspect(project: Path, configure: Configure) -> None:
    objects(project)
    params = configure(CHANGES | {
        "poll.max_side": 128, "mine.size": 64, "mine.num_composites": 20, "mine.min_box_side": 8, "mine.min_plate_score": 0.0,
        "train.model.size": 64,
    })
    plan_mine(params)
    count = write_poll_pictures(params, BASELINES_ALONE, Path("pictures"), silent)
    recipes = {row["key"]: row for row in read_table(Path("data/mined/recipes.parquet"), RECIPES)}
    poll = read_poll(Path("pictures"))
    assert count == len(poll.images) > 0
    for image in poll.images:
        assert recipes[image]["split"] == "test"
        shown = read_image(poll.pictures["composite", image])
        assert shown.shape == (96, 128, 3)
        small = render_recipe(recipes[image]).sample
        again, mask = resize_image(shown, 64, 64), resize_image(read_mask(poll.masks[image]), 64, 64)
        assert np.abs(mask.astype(float) - small.mask).mean() < 6
        assert np.abs(again.astype(float) - small.composite).mean() < 12, "the same composite, but for the fill of the hole"
