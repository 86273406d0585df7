"""A harmonizer's strength, held in its weights, and how it is found on validation pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shapes import shape_of
from short_training import SIZE, short_training, trained_with
from torch import Tensor, nn

from models.curves import identity_curves
from models.harmonizer import ParametricHarmonizer, TwoNetHarmonizer, with_strength
from models.matched import MatchedConfig, MatchedHarmonizer
from models.shading import shading_map
from models.small import SmallConfig, SmallCurveNet
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params
from tasks.sample import PairBatch
from tasks.train import train
from tasks.training.calibration import STRENGTHS, calibrated
from tasks.training.validation import harmonize_pairs, read_validation_pairs, score

SMALL = shape_of(size=64)
assert isinstance(SMALL, SmallConfig)


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def brightening() -> TwoNetHarmonizer:
    """One that lifts all curves by a little, and lightens by a little more."""
    torch.manual_seed(0)
    model = SMALL.build()
    assert isinstance(model.curve_net, SmallCurveNet)
    assert model.shading_net is not None
    with torch.no_grad():
        model.curve_net.head.bias[:: SMALL.num_knots] = 0.08
        head: Any = model.shading_net.head
        nn.init.constant_(head.bias, 0.3)
    return model.eval()


def pairs(model: ParametricHarmonizer) -> PairBatch:
    """Composites in the middle tones, and as targets what `model` makes of them."""
    composite, mask = 0.3 + 0.4 * draw(6, 3, 64, 64), torch.zeros(6, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    with torch.no_grad():
        return PairBatch(composite, mask, model(composite, mask).harmonized)


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_curves_go_that_share_of_the_way_and_so_does_the_light_in_stops(strength: float) -> None:
    composite, mask = draw(2, 3, 64, 64) * 0.5 + 0.2, torch.ones(2, 1, 64, 64)
    full = brightening()
    weaker = with_strength(full, strength)
    with torch.no_grad():
        whole, part = full.predict(composite, mask), weaker.predict(composite, mask)
    identity = identity_curves(SMALL.num_knots, like=composite)
    moved, wanted = ((edit["curves"] - identity)[..., 1:-1] for edit in (part, whole))
    torch.testing.assert_close(moved, strength * wanted, atol=1e-6, rtol=0)
    stops = [
        torch.log2(shading_map(whole["shading"], 8, 8, mode="symmetric", limit=model.config.shading_limit)) for model in (full, weaker)
    ]
    assert stops[0].abs().min() > 0.05
    torch.testing.assert_close(stops[1], strength * stops[0])


def test_at_full_strength_nothing_changes_and_the_model_itself_never_does() -> None:
    composite, mask = draw(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    model = brightening()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(with_strength(model, 1.0).eval()(composite, mask).harmonized, model(composite, mask).harmonized)
    with_strength(model, 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("changes", "said"), [
    ({"shading": "darken", "shading_limit": 0.5}, "shading is 'darken'; architecture 'small' takes a strength with 'symmetric'"),
    ({"architecture": "paper", "size": 256, "grid": 16, "width": 32}, "architecture 'paper' takes no strength"),
    ({"architecture": "pixel"}, "architecture 'pixel' takes no strength"),
])  # fmt: skip
@pytest.mark.usefixtures("unguarded")
def test_where_weights_cannot_hold_a_strength_it_is_refused(changes: dict[str, Any], said: str) -> None:
    model = nn.Module()
    model.config = shape_of(**changes)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=said):
        with_strength(model, 0.5)  # type: ignore[arg-type]


def matched(**changes: Any) -> MatchedHarmonizer:
    """One that moves curves, colours and light of everything a little, in the same way whatever it sees."""
    torch.manual_seed(0)
    config = shape_of("matched", size=64, **changes)
    assert isinstance(config, MatchedConfig)
    model = config.build()
    with torch.no_grad():
        for head, size in ((model.decide.curves_head, 0.02), (model.decide.matrix_head, 0.05), (model.decide.shading_head, 0.3)):
            assert head is not None
            head.bias.copy_(size * draw(len(head.bias)))
    return model.eval()


@pytest.mark.parametrize("strength", [0.5, 0.8])
@pytest.mark.parametrize("doubt_weight", [0.0, 1.0])
@pytest.mark.parametrize("evenness", [0.0, 0.3])
def test_all_of_a_matched_edit_goes_that_share_of_the_way_and_fades_no_more(
    strength: float, doubt_weight: float, evenness: float,
) -> None:
    composite, mask = draw(2, 3, 64, 64) * 0.4 + 0.3, torch.ones(2, 1, 64, 64)
    full = matched(least_size=0.05, doubt_weight=doubt_weight, evenness=evenness)
    weaker = with_strength(full, strength)
    with torch.no_grad():
        whole, part = full.predict(composite, mask), weaker.predict(composite, mask)
    for operator in full.config.operators:
        moved, wanted = (edit[operator.name] - operator.identity(composite) for edit in (part, whole))
        if operator.name == "shading":  # its numbers stay, what a number means becomes less
            moved = moved * strength
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(moved, strength * wanted, atol=0.0, rtol=0.07)  # it fades by its size, which is not quite linear
    assert weaker.config.shading_limit == pytest.approx(full.config.shading_limit**strength)


@pytest.mark.usefixtures("unguarded")
def test_a_matched_harmonizer_without_matrix_and_shading_takes_a_strength_too() -> None:
    bare = shape_of("matched", size=64, use_matrix=False, use_shading=False, use_features=False)
    model = bare.build().eval()
    assert bare.strength_fault == ""
    assert with_strength(model, 0.5).config.operators == bare.operators  # type: ignore[arg-type]


@pytest.mark.parametrize("right", [1.0, 0.75, 0.5])
def test_the_strength_that_was_right_is_found(right: float) -> None:
    model = brightening()
    held_out = pairs(with_strength(model, right).eval())
    found, strength, figures = calibrated(model, held_out)
    assert strength == right
    assert figures == score(harmonize_pairs(found, held_out), held_out)
    assert figures["val_fmse"] < 1e-3 * figures["val_composite_fmse"]


def test_no_strength_leaves_less_of_the_validation_pairs_than_the_one_that_is_kept(tmp_path: Path) -> None:
    params = short_training(tmp_path)
    bold = trained_with(params, keep="last", optimizer={"lr": 3e-3})
    calibrating = trained_with(bold, calibrate_strength=True)
    plain = train(bold, _silent, _silent)
    model = load_harmonizer(params.paths.harmonizer)[0]
    assert isinstance(model, ParametricHarmonizer)
    held_out = read_validation_pairs(params.paths.shards, SIZE, limit=params.train.max_val_pairs, device=torch.device("cpu"))
    left = {s: score(harmonize_pairs(with_strength(model, s), held_out), held_out)["val_fmse"] for s in STRENGTHS}
    kept = train(calibrating, _silent, _silent)
    assert plain["strength"] == 1.0
    assert kept["strength"] == min(left, key=lambda s: left[s])
    assert kept["val_fmse"] == pytest.approx(min(left.values()), abs=1e-3)
    saved = load_harmonizer(params.paths.harmonizer)[0]
    assert score(harmonize_pairs(saved, held_out), held_out)["val_fmse"] == pytest.approx(kept["val_fmse"], abs=1e-3)


@pytest.mark.parametrize("changes", [
    {"train.model.architecture": "pixel"},
    {"train.model.architecture": "small", "train.model.options.small.shading": "darken", "train.model.options.small.shading_limit": 0.5},
])  # fmt: skip
def test_params_that_cannot_be_calibrated_are_named(configure: Callable[..., Params], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="calibrate_strength is on, but "):
        configure({"train.calibrate_strength": True, **changes})


def _silent(*_: object) -> None:
    pass
