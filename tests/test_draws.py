"""Draws: seeds that depend on names alone, each photograph's own network, and the choice of the hardest plausible ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import shape_of

from models.harmonizer import build_harmonizer
from models.syconet import SycoNet, SycoNetConfig
from tasks.augmentation.domains import UNION, SycoNets, checkpoint_digests, checkpoint_folder
from tasks.augmentation.draws import Draw, HardCases, draw_composites
from tasks.harmonizer_files import save_harmonizer
from tasks.params import Params
from tasks.syconet_files import save_syconet

Drawing = Callable[..., np.ndarray]
Configure = Callable[..., Params]
ROWS = [{"key": f"photos_{name}", "source": "photos", "subset": name} for name in ("coco", "horse", "davis")]


def save_networks(params: Params) -> None:
    config = SycoNetConfig(size=16, latent_dim=2, num_luts=3, lut_dim=4, width=4)
    for seed, domain in enumerate((UNION, *params.finetune_syconet.domains)):
        torch.manual_seed(seed)
        model = SycoNet(config)
        with torch.no_grad():
            model.generator.head.weight.mul_(20)
        save_syconet(checkpoint_folder(params, domain), model, config, {})


@pytest.fixture
def photographs(photograph: Drawing, object_mask: Drawing) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(photograph(32, 32, number), object_mask(32, 32, 0.4)) for number in range(3)]


def test_each_photograph_is_drawn_by_its_own_domains_network_and_told_so(
    project: Path, configure: Configure, photographs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    del project
    params = configure({"finetune_syconet.domains": ["photos/coco"], "augment.copies": 2})
    save_networks(params)
    found = draw_composites(params, SycoNets(params), ROWS, photographs)
    digests = checkpoint_digests(params)
    assert [of_one[0].about["syconet"] for of_one in found] == [digests["photos/coco"], digests[UNION], digests[UNION]]
    assert [of_one[0].about.get("domain") for of_one in found] == ["photos/coco", None, None]
    assert len({draw.about["z_seed"] for of_one in found for draw in of_one}) == 6
    for of_one, (target, mask), row in zip(found, photographs, ROWS, strict=True):
        assert [draw.about["parent"] for draw in of_one] == [row["key"]] * 2
        for draw in of_one:
            np.testing.assert_array_equal(draw.composite[mask == 0], target[mask == 0])


def test_more_draws_leave_the_first_ones_as_they_were(
    project: Path, configure: Configure, photographs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    del project
    few, many = configure({"augment.copies": 2}), configure({"augment.copies": 4})
    save_networks(few)
    first, second = (draw_composites(params, SycoNets(params), ROWS[:1], photographs[:1])[0] for params in (few, many))
    for one, other in zip(first, second[:2], strict=True):
        assert one.about == other.about
        assert np.abs(one.composite.astype(int) - other.composite).max() <= 1  # a batch of another size may round otherwise


def save_untrained_harmonizer(folder: Path, *, plate: bool = False) -> None:
    config = shape_of(num_knots=4, shading_limit=1.5, plate=plate, encoder_size=32)
    torch.manual_seed(0)
    save_harmonizer(folder, build_harmonizer(config), config, {})


def shifted(target: np.ndarray, mask: np.ndarray, gain: float) -> Draw:
    return Draw(np.where(mask[..., None] > 0, np.clip(target * gain, 0, 255).astype(np.uint8), target), {"gain": gain})


def test_the_hardest_plausible_draws_are_kept_hardest_first(
    project: Path, configure: Configure, photographs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """An untrained harmonizer changes nothing, so that what is hardest is what is furthest away."""
    save_untrained_harmonizer(project / "harmonizer")
    hard = HardCases(configure({"augment.draws": 5, "augment.harmonizer": "harmonizer"}))
    target, mask = (photographs[0][0] // 2 + 60).astype(np.uint8), photographs[0][1]
    negative = Draw(np.where(mask[..., None] > 0, 255 - target, target), {"gain": -1.0})
    draws = [shifted(target, mask, gain) for gain in (0.95, 0.7, 0.85)] + [negative]
    kept = hard.keep(draws, target, mask, most=2)
    assert [one.about["gain"] for one in kept] == [0.7, 0.85]
    left = [one.about["remaining_fmse"] for one in kept]
    assert left[0] > left[1] > 0
    expected = np.square(kept[0].composite.astype(float) - target)[mask >= 128].mean()
    assert left[0] == pytest.approx(expected, rel=0.05)
    everything = hard.keep(draws, target, mask, most=4)
    assert [one.about["gain"] for one in everything] == [0.7, 0.85, 0.95, -1.0]  # the implausible one, however hard, comes last
    assert sorted(one.about["rank"] for one in everything) == [1, 2, 3, 4]
    assert [bool(one.about["faults"]) for one in everything] == [False, False, False, True]
    assert len({one.about["harmonizer"] for one in everything}) == 1


def test_a_harmonizer_that_cannot_judge_is_refused(project: Path, configure: Configure) -> None:
    del project
    params = configure({"augment.draws": 5, "augment.harmonizer": "harmonizer"})
    with pytest.raises(ValueError, match="harmonizer"):
        HardCases(params)
    save_untrained_harmonizer(Path("harmonizer"), plate=True)
    with pytest.raises(ValueError, match=r"augment\.harmonizer: harmonizer takes a plate"):
        HardCases(params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment.draws": 5}, "over 1 needs a harmonizer"),
        ({"augment.harmonizer": "somewhere"}, "over 1 needs a harmonizer"),
        ({"augment.harmonizer": "somewhere", "augment.draws": 2, "augment.copies": 3}, "must not be fewer than copies"),
    ],
)
def test_params_that_make_no_choice_possible_are_refused(configure: Configure, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(changes)
