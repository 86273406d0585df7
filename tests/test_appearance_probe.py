from collections.abc import Callable

import numpy as np
import pytest
from skimage.color import rgb2lab
from sklearn.metrics import roc_auc_score

from tasks.evaluation.appearance_probe import SIDE, Looks, exchange_surroundings, measure_looks, train_probe

Draw = Callable[[int, int, int], np.ndarray]
Mask = Callable[..., np.ndarray]


def tinted(rng: np.random.Generator, *, common: bool) -> Looks:
    """The looks of a picture whose foreground is lit as its surroundings, or not; objects differ by colours of their own."""
    light, own = rng.normal(0, 20, 3), rng.normal(0, 4, 3)
    around = np.zeros((3, 26)) + rng.normal(0, 1, (3, 26))
    foreground = rng.normal(0, 1, 26)
    around[:, :3] += light
    foreground[:3] += own + (light if common else rng.normal(0, 20, 3))
    return Looks(foreground, around)


def test_the_means_are_those_of_an_independent_conversion(photograph: Draw, object_mask: Mask) -> None:
    image, mask = photograph(SIDE, SIDE, 4), object_mask(SIDE, SIDE)
    looks = measure_looks(image, mask)
    assert looks is not None
    inside = np.zeros((SIDE, SIDE), bool)
    rows, columns = np.nonzero(mask)
    inside[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()] = True  # its outermost pixels are left out
    lab = rgb2lab(image)
    np.testing.assert_allclose(looks.foreground[:3], lab[inside].mean(axis=0), atol=0.02)
    np.testing.assert_allclose(looks.foreground[3:6], np.log(lab[inside].std(axis=0) + 1), atol=0.01)
    with_chroma = np.dstack([lab, np.hypot(lab[..., 1], lab[..., 2])])
    np.testing.assert_allclose(looks.foreground[6:10], np.percentile(with_chroma[inside], 5, axis=0), atol=0.05)


def test_a_change_of_the_foreground_leaves_the_surroundings_alone(photograph: Draw, object_mask: Mask) -> None:
    image, mask = photograph(96, 128, 1), object_mask(96, 128)
    darker = np.where(mask[..., None] > 0, image // 2, image).astype(np.uint8)
    before, after = measure_looks(image, mask), measure_looks(darker, mask)
    assert before is not None
    assert after is not None
    assert after.foreground[0] < before.foreground[0] - 5
    np.testing.assert_allclose(after.surroundings[1:], before.surroundings[1:], atol=0.2)


def test_regions_too_small_for_statistics_are_told(photograph: Draw) -> None:
    image, mask = photograph(SIDE, SIDE, 1), np.zeros((SIDE, SIDE), np.uint8)
    assert measure_looks(image, mask) is None
    mask[:6, :6] = 255
    assert measure_looks(image, mask) is None
    assert measure_looks(image, np.full_like(mask, 255)) is None
    mask[:8, :8] = 255
    assert measure_looks(image, mask) is not None


@pytest.mark.parametrize("count", [2, 3, 10])
def test_exchanged_surroundings_are_never_their_own_and_each_is_used_once(count: int) -> None:
    looks = [Looks(np.full(26, float(number)), np.full((3, 26), float(number))) for number in range(count)]
    exchanged = exchange_surroundings(looks, np.random.default_rng(count))
    assert sorted(each.foreground[0] for each in exchanged) == sorted(each.surroundings[0, 0] for each in exchanged) == list(range(count))
    assert all(each.foreground[0] != each.surroundings[0, 0] for each in exchanged)


@pytest.mark.parametrize("common", [True, False])
def test_the_probe_sees_a_light_in_common_and_nothing_where_there_is_none(common: bool) -> None:
    rng = np.random.default_rng(7)
    probe = train_probe([tinted(rng, common=common) for _ in range(150)], rng)
    unseen = [tinted(rng, common=common) for _ in range(150)]
    scores = probe.scores([*unseen, *exchange_surroundings(unseen, rng)])
    auc = roc_auc_score(np.repeat([1, 0], 150), scores)
    assert auc > 0.9 if common else abs(auc - 0.5) < 4 * 0.033  # four standard deviations of chance
