from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from tasks.mining.foregrounds import Reason, outline_contact
from tasks.mining.gap import region_colours
from tasks.mining.object_analysis import analyse_photograph
from tasks.params import Mine, Params

SIDE = 96


@pytest.fixture
def mine(configure: Callable[..., Params]) -> Mine:
    return configure({"mine.size": 64, "train.model.size": 64, "augment.size": 64, "mine.min_box_side": 10}).mine


def disc(centre: tuple[int, int] = (48, 48), radius: int = 24) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(mask, centre, radius, 255, -1)
    return mask


def picture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal((140, 110, 80), 30, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def reason_of(image: np.ndarray, mask: np.ndarray, mine: Mine, *others: np.ndarray, label: str = "cat") -> str:
    rows = [{"key": f"k{number}", "label": label} for number in range(1 + len(others))]
    return str(analyse_photograph(rows, image, [mask, *others], mine)[0]["reason"])


def two_discs() -> np.ndarray:
    return disc((24, 48), 16) | disc((72, 48), 16)


def with_hole() -> np.ndarray:
    return disc() & ~disc(radius=10)


CASES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    Reason.EMPTY: (picture(), np.zeros((SIDE, SIDE), np.uint8)),
    Reason.AREA_SMALL: (picture(), disc(radius=4)),
    Reason.AREA_LARGE: (picture(), disc(radius=56)),
    Reason.SIDE_SMALL: (picture(), np.where(np.abs(np.arange(SIDE) - 48) < 4, disc(radius=44), 0).astype(np.uint8)),
    Reason.BOX_SHAPED: (picture(), np.pad(np.full((40, 40), 255, np.uint8), 28)),
    Reason.BORDER_CONTACT: (picture(), np.pad(disc()[24:73, 48:73], ((0, 47), (0, 71)))),
    Reason.COMPONENTS: (picture(), np.bitwise_or.reduce([disc((x, y), 10) for x in (20, 70) for y in (20, 70)])),
    Reason.LARGEST_COMPONENT: (picture(), two_discs()),
    Reason.HOLES: (picture(), with_hole()),
    Reason.BLURRED: (cv2.GaussianBlur(picture(), (0, 0), 6), disc()),
    Reason.CLIPPED: (np.where(disc(radius=18)[..., None] > 0, np.uint8(255), picture()), disc()),
    Reason.GREYSCALE: (picture()[..., :1] * np.ones(3, np.uint8), disc()),
}


@pytest.mark.parametrize("reason", CASES)
def test_each_rule_rejects_its_own_case_by_its_name(reason: str, mine: Mine) -> None:
    assert reason_of(*CASES[reason], mine) == reason


def test_a_good_object_passes_and_has_its_numbers(mine: Mine) -> None:
    found = analyse_photograph([{"key": "k", "label": "cat"}], picture(), [disc()], mine)[0]
    assert found["reason"] == ""
    assert found["source_box"] == [24, 24, 73, 73]
    assert found["contact"] == [False] * 4
    assert sum(found["fg_histogram"]) == pytest.approx(1.0)
    assert found["fg_ratio"] == pytest.approx(np.pi * 24**2 / SIDE**2, rel=0.05)


def test_an_object_inside_or_beside_another_is_occluded(mine: Mine) -> None:
    assert reason_of(picture(), disc(radius=16), mine, disc(radius=30)) == Reason.OCCLUDED
    assert reason_of(picture(), disc(radius=30), mine, disc(radius=16)) == ""


def test_labels_can_be_allowed_and_excluded(mine: Mine) -> None:
    assert reason_of(picture(), disc(), mine.model_copy(update={"excluded_labels": ["sky"]}), label="sky") == Reason.LABEL
    assert reason_of(picture(), disc(), mine.model_copy(update={"labels": ["dog"]}), label="cat") == Reason.LABEL


def test_a_mask_of_another_size_rejects_every_object_of_its_photograph(mine: Mine) -> None:
    found = analyse_photograph([{"key": "a", "label": ""}, {"key": "b", "label": ""}], picture(), [disc(), disc()[:50]], mine)
    assert [row["reason"] for row in found] == [Reason.SIZE_MISMATCH] * 2


def test_a_poor_plate_bars_a_background_but_not_a_foreground(mine: Mine) -> None:
    assert reason_of(picture(), disc(), mine.model_copy(update={"min_plate_score": 1.0})) == Reason.PLATE_POOR
    assert {str(reason) for reason in Reason if not reason.bars_foreground} == {
        "plate_missing", "plate_unreadable", "plate_unlike", "plate_poor"}


def test_the_outline_on_the_border_is_counted_by_its_length() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    assert outline_contact(mask) == 0.0
    mask[:] = True
    assert outline_contact(mask) == 1.0
    half = np.zeros((20, 20), bool)
    half[:10] = True  # outline: 20 above, 20 below, 10 at each side; all but the lower side lies on the border
    assert outline_contact(half) == pytest.approx(40 / 60)


def test_the_statistics_of_a_grey_region_are_known() -> None:
    colours: Any = region_colours(np.full((8, 8, 3), 119, np.uint8), np.ones((8, 8), bool))
    assert colours.mean == pytest.approx((50.03, 0.0, 0.0), abs=0.25)  # sRGB 119 is L* 50; OpenCV interpolates it
    assert colours.std == pytest.approx((0.0, 0.0, 0.0), abs=1e-4)
    assert colours.chromaticity == (0.0, 0.0)
