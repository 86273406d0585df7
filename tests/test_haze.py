"""Laws of black points, white points and saturation, against Pillow, scikit-image and pictures made to order."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from tasks.evaluation.haze import Haze, ToneChange, Tones, summarize_haze, tone_changes, tones_of

MIDDLE = Tones(black=50.0, white=200.0, chroma=20.0)
PALE = Tones(black=20.0, white=230.0, chroma=10.0)  # a background with deeper blacks, brighter whites and less colour


def changed(background: Tones = PALE, **after: float) -> ToneChange:
    """MIDDLE, with some of its tones moved, before `background`."""
    return ToneChange(MIDDLE, replace(MIDDLE, **after), background)


def summary_of(*changes: ToneChange) -> Haze:
    """Of these, with a generator of its own."""
    return summarize_haze(changes, np.random.default_rng(0))


def test_tones_are_percentiles_of_pillows_luma_and_the_mean_chroma_of_scikit_image() -> None:
    image = np.random.default_rng(2).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    inside = np.zeros((60, 50), bool)
    inside[10:40, 5:45] = True
    found = tones_of(image, inside)
    luma = np.asarray(Image.fromarray(image).convert("L"))[inside]  # rounded to whole levels
    assert found.black == pytest.approx(np.percentile(luma, 2), abs=1.0)
    assert found.white == pytest.approx(np.percentile(luma, 98), abs=1.0)
    lab = rgb2lab(image)[inside]
    assert found.chroma == pytest.approx(np.sqrt(lab[:, 1] ** 2 + lab[:, 2] ** 2).mean(), rel=2e-3)


def test_of_a_large_region_evenly_spread_pixels_say_the_same() -> None:
    ramp = np.tile(np.linspace(0, 255, 900).round().astype(np.uint8)[:, None, None], (1, 700, 3))
    found = tones_of(ramp, np.ones((900, 700), bool))
    assert (found.black, found.white) == pytest.approx((5.1, 249.9), abs=1.0)


def test_a_region_without_pixels_has_no_tones() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        tones_of(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool))


def test_the_object_and_its_background_are_told_apart_by_the_hard_mask() -> None:
    before = np.full((20, 20, 3), 40, np.uint8)
    after = np.full((20, 20, 3), 90, np.uint8)
    mask = np.full((20, 20), 127, np.uint8)
    mask[:10] = 128
    found = tone_changes(before, {"ours": after}, mask)["ours"]
    assert (found.before.black, found.after.black, found.background.black) == pytest.approx((40, 90, 40))


@pytest.mark.parametrize("level", [0, 255])
def test_where_there_is_no_object_or_no_background_nothing_is_said(level: int) -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    assert tone_changes(image, {"ours": image}, np.full((20, 20), level, np.uint8)) == {}


@pytest.mark.parametrize(("black", "background", "lifted"), [
    (52.0, 20.0, False),  # moved by no more than two levels
    (52.5, 20.0, True),
    (60.0, 55.0, False),  # ends five above the background's: not more
    (60.1, 55.0, True),
    (40.0, 20.0, False),  # sank
])
def test_blacks_are_lifted_if_they_rise_and_end_above_the_backgrounds(black: float, background: float, lifted: bool) -> None:
    assert changed(replace(PALE, black=background), black=black).lifted is lifted


def test_dulled_whites_are_the_mirror_of_lifted_blacks() -> None:
    rng = np.random.default_rng(7)
    for before, after, background in rng.uniform(0, 60, (200, 3)):
        upside = ToneChange(Tones(before, 0, 9), Tones(after, 0, 9), Tones(background, 0, 9))
        down = ToneChange(Tones(0, 255 - before, 9), Tones(0, 255 - after, 9), Tones(0, 255 - background, 9))
        assert upside.lifted == down.dulled
        assert not upside.dulled or after < before


def test_an_untouched_picture_is_neither_hazy_nor_washed_out() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    mask = np.zeros((30, 30), np.uint8)
    mask[5:20, 5:20] = 255
    found = summary_of(tone_changes(image, {"ours": image}, mask)["ours"])
    assert (found.lifted, found.dulled, found.washed_out, found.chroma_kept) == (0.0, 0.0, 0.0, 1.0)
    assert found.black_before == found.black_after


def test_washed_out_counts_only_objects_whose_background_is_no_paler() -> None:
    rich = replace(PALE, chroma=20.0)
    found = summary_of(changed(rich, chroma=14.9), changed(rich, chroma=15.0), changed(PALE, chroma=1.0))
    assert found.num_no_reason == 2
    assert found.washed_out == 0.5
    assert found.chroma_kept == pytest.approx(0.745)
    assert found.num_images == 3


def test_a_grey_object_has_no_saturation_to_lose() -> None:
    grey = Tones(50, 200, 2.9)
    assert not ToneChange(grey, replace(grey, chroma=0.0), PALE).has_no_reason
    assert ToneChange(grey, replace(grey, chroma=0.0), PALE).kept == 1.0


def test_shares_and_means_are_those_of_the_pictures_and_lie_in_their_intervals() -> None:
    changes = [changed(black=80.0), changed(black=50.0), changed(white=150.0), changed(black=80.0)]
    found = summary_of(*changes)
    assert (found.lifted, found.dulled) == (0.5, 0.25)
    assert found.lifted_low <= found.lifted <= found.lifted_high
    assert (found.black_before, found.black_after, found.black_background) == (50.0, 65.0, 20.0)
    assert (found.white_before, found.white_after, found.white_background) == (200.0, 187.5, 230.0)


def test_pictures_of_one_photograph_are_resampled_together() -> None:
    changes = [changed(black=80.0)] * 5 + [changed()] * 5
    together = summarize_haze(changes, np.random.default_rng(0), groups=["a"] * 5 + ["b"] * 5)
    apart = summary_of(*changes)
    assert (together.lifted_low, together.lifted_high) == (0.0, 1.0)
    assert apart.lifted_low > 0.0
