import dataclasses
import itertools
from typing import Any

import pytest
import torch
from shapes import shape_of
from torch import nn

from models.architectures import ARCHITECTURES, config_as_saved, harmonizer_config, saved_config
from models.backbone import ResNet50
from models.curves import apply_curves
from models.harmonizer import Edit, Harmonizer, HarmonizerConfig, ParametricHarmonizer, build_harmonizer
from models.losses import foreground_mse
from models.paper import PaperShadingNet, PublishedConfig, paper_config
from models.published import load_published
from models.resizing import squash_area
from models.small import scaled_cosines

# Decoder levels of the published shading network that its output does not depend on (3 x 3 convolutions without bias, three with batch
# norm, and a last one with bias): they are in the published count of 93.64 M and nowhere else.
PUBLISHED_DEAD_WEIGHTS = sum(9 * a * b for a, b in itertools.pairwise([256, 128, 64, 32, 32, 32])) + 2 * (128 + 64 + 32) + 9 * 32 + 1


def config(**changes: Any) -> HarmonizerConfig:
    return shape_of(**{"size": 64, **changes})


def parametric(**changes: Any) -> ParametricHarmonizer:
    model = build_harmonizer(config(**changes))
    assert isinstance(model, ParametricHarmonizer)
    return model


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scenes(count: int = 2, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Composite, soft mask, plate."""
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : -size // 4, size // 4 : size // 2] = 1
    mask[..., size // 2 : size // 2 + 2] *= 0.5
    return draw(count, 3, size, size), mask, draw(count, 3, size, size, seed=1)


def stirred(model: Harmonizer) -> Harmonizer:
    """`model` with its zeroed heads filled, so that it changes something."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.detach().abs().max() == 0:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_paper_size_has_its_published_parameters() -> None:
    with torch.device("meta"):
        model = build_harmonizer(paper_config())
    assert isinstance(model, ParametricHarmonizer)
    assert count(model.curve_net) == 23_717_280
    assert count(model.shading_net) == 69_517_793
    assert PUBLISHED_DEAD_WEIGHTS == 406_241
    assert count(model) + PUBLISHED_DEAD_WEIGHTS == 93_641_314


@pytest.mark.parametrize(("size", "plate"), [(256, False), (512, True)])
def test_the_paper_sizes_shading_net_goes_down_to_one_place_and_up_to_sixteen(size: int, plate: bool) -> None:
    with torch.device("meta"):
        model = build_harmonizer(paper_config(size=size, plate=plate)).eval()
        assert isinstance(model, ParametricHarmonizer)
        known = torch.empty(1, 10 if plate else 7, size, size)
        sides: list[int] = []
        for layer in model.shading_net.down:
            layer.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
        logits = model.shading_net(known, known[:, :3], known[:, :1])
    assert sides == [size // 4 if size == 512 else size // 2, 32, 16, 4, 2, 1]
    assert logits.shape == (1, 1, 16, 16)


@pytest.mark.slow
def test_the_paper_size_harmonizes_and_learns() -> None:
    torch.manual_seed(0)
    model = build_harmonizer(paper_config(size=256, plate=False))
    composite, mask, target = scenes(2, 256)
    model(composite, mask).harmonized.sub(target).abs().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("plate", [False, True])
@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_an_untrained_model_changes_nothing(architecture: str, plate: bool) -> None:
    composite, mask, _ = scenes()
    model = build_harmonizer(config(architecture=architecture, plate=plate))
    harmonized = model(composite, mask, composite).harmonized
    torch.testing.assert_close(harmonized, composite, atol=1e-6, rtol=0)


def test_an_untrained_darkening_model_changes_next_to_nothing() -> None:
    composite, mask, _ = scenes()
    harmonized = build_harmonizer(config(shading="darken", shading_limit=0.5))(composite, mask).harmonized
    assert (harmonized - composite).abs().max() < 0.01


@pytest.mark.parametrize(("architecture", "read_rim"), [("small", False), ("small", True), ("pixel", False)])
def test_outside_the_mask_the_background_is_copied_bit_for_bit(architecture: str, read_rim: bool) -> None:
    composite, mask, plate = scenes()
    outside = (mask == 0).expand_as(composite)
    for with_plate, background in [(False, composite), (True, plate)]:
        model = stirred(build_harmonizer(config(architecture=architecture, plate=with_plate, read_rim=read_rim)))
        harmonized = model(composite, mask, plate).harmonized
        assert torch.equal(harmonized[outside], background[outside])
        assert (harmonized - composite)[~outside].abs().max() > 0.01


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_results_are_in_range(architecture: str) -> None:
    composite, mask, _ = scenes()
    harmonized = stirred(build_harmonizer(config(architecture=architecture)))(composite, mask).harmonized
    assert 0 <= harmonized.min() <= harmonized.max() <= 1


def test_an_edit_holds_curves_and_a_grid_of_logits() -> None:
    composite, mask, _ = scenes()
    model = stirred(build_harmonizer(config(num_knots=11, grid=6)))
    assert isinstance(model, ParametricHarmonizer)
    edit = model.predict(composite, mask)
    assert edit["curves"].shape == (2, 3, 11)
    assert edit["shading"].shape == (2, 1, 6, 6)
    assert 0 <= edit["curves"].min() <= edit["curves"].max() <= 1


def test_forward_is_predict_then_render() -> None:
    composite, mask, plate = scenes()
    model = stirred(build_harmonizer(config(plate=True)))
    assert isinstance(model, ParametricHarmonizer)
    whole, by_parts = model(composite, mask, plate), model.render(model.predict(composite, mask, plate), composite, mask, plate)
    assert torch.equal(whole.harmonized, by_parts.harmonized)
    assert torch.equal(whole.toned, by_parts.toned)


def test_rendering_equals_the_papers_formula_on_a_hard_mask() -> None:
    composite, _, plate = scenes(1)
    mask = (draw(1, 1, 64, 64, seed=5) > 0.5).float()
    model = parametric()
    edit = Edit({"curves": torch.tensor([[0.1, 0.9]]).expand(1, 3, 2), "shading": torch.full((1, 1, 4, 4), 0.5)})
    toned = mask * (0.1 + 0.8 * composite) + (1 - mask) * plate
    gain = 1.6 ** torch.tensor(0.5).tanh()
    result = model.render(edit, composite, mask, plate)
    torch.testing.assert_close(result.toned, toned)
    torch.testing.assert_close(result.harmonized, mask * (toned * gain).clamp(max=1) + (1 - mask) * plate)


def test_a_result_at_twice_the_resolution_shrinks_to_the_result() -> None:
    large = nn.functional.interpolate(draw(1, 3, 3, 3), size=(128, 128), mode="bilinear", align_corners=True)
    small, mask = nn.functional.avg_pool2d(large, 2), torch.ones(1, 1, 64, 64)
    model = parametric()
    bend = 0.1 * torch.sin(torch.linspace(0, 3, 8))
    curves = torch.linspace(0, 1, 8) + bend * torch.tensor([1, -1, 0.5]).view(1, 3, 1)
    edit = Edit({"curves": curves, "shading": draw(1, 1, 4, 4) - 0.5})
    at_small = model.render(edit, small, mask).harmonized
    at_large = model.render(edit, large, torch.ones(1, 1, 128, 128)).harmonized
    assert (at_small - small).abs().max() > 20 / 255
    assert (nn.functional.avg_pool2d(at_large, 2) - at_small).abs().max() < 1 / 255


def test_a_large_image_gets_the_edit_of_its_small_copy() -> None:
    composite, mask, _ = scenes(1, 128)
    model = stirred(build_harmonizer(config()))
    assert isinstance(model, ParametricHarmonizer)
    from_large, from_small = model.predict(composite, mask), model.predict(squash_area(composite, 64), squash_area(mask, 64))
    assert torch.equal(from_large["curves"], from_small["curves"])
    assert model(composite, mask).harmonized.shape == composite.shape


def test_an_image_is_edited_alone_as_in_a_batch() -> None:
    composite, mask, _ = scenes(3)
    model = stirred(build_harmonizer(config()))
    torch.testing.assert_close(model(composite, mask).harmonized[1:2], model(composite[1:2], mask[1:2]).harmonized, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_all_parameters_learn(architecture: str) -> None:
    composite, mask, target = scenes()
    model = stirred(build_harmonizer(config(architecture=architecture, width=16))).train()
    model(composite, mask).harmonized.sub(target).square().mean().backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None or parameter.grad.abs().max() == 0]
    assert silent == []


def test_the_first_step_moves_curves_and_shading() -> None:
    composite, mask, target = scenes()
    model = build_harmonizer(config())
    assert isinstance(model, ParametricHarmonizer)
    model(composite, mask).harmonized.sub(target).square().mean().backward()
    assert model.curve_net.head.weight.grad.abs().max() > 0
    assert model.shading_net.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("shading", "limit"), [("symmetric", 1.6), ("darken", 0.5)])
def test_one_half_of_the_edit_alone_leaves_the_other_at_no_change(shading: str, limit: float) -> None:
    composite, mask, _ = scenes()
    shapes = {edit: config(edit=edit, shading=shading, shading_limit=limit) for edit in ("both", "curves", "shading")}
    models = {edit: stirred(build_harmonizer(shape)) for edit, shape in shapes.items()}
    whole = models["both"]
    assert isinstance(whole, ParametricHarmonizer)
    edit = whole.predict(composite, mask)
    for name, model in models.items():
        assert isinstance(model, ParametricHarmonizer)
        model.load_state_dict(whole.state_dict(), strict=False)
        built = {key.split("_")[0] for key in model.state_dict()}
        assert built == ({"curve", "shading"} if name == "both" else {name.removesuffix("s")}), "weights that nothing reads"
    curves, shading_only = models["curves"](composite, mask), models["shading"](composite, mask)
    torch.testing.assert_close(curves.harmonized, curves.toned)
    torch.testing.assert_close(curves.edit["curves"], edit["curves"])
    torch.testing.assert_close(shading_only.toned, composite)
    assert list(shading_only.edit.numbers) == ["shading"]
    assert (shading_only.harmonized - composite).abs().max() > 0.01


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_a_few_steps_learn_to_lift_a_darkened_foreground(architecture: str) -> None:
    torch.manual_seed(0)
    model = build_harmonizer(config(architecture=architecture, size=32))
    target, mask, _ = scenes(4, 32)
    composite = target * (1 - 0.5 * mask)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = foreground_mse(composite, target, mask).item()
    for _ in range(40):
        loss = foreground_mse(model(composite, mask).harmonized, target, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert foreground_mse(model(composite, mask).harmonized, target, mask).item() < 0.3 * before


def test_cosines_span_all_curves_and_grow_finer() -> None:
    rows = scaled_cosines(16)
    assert torch.linalg.matrix_rank(rows) == 16
    gram = rows @ rows.T
    torch.testing.assert_close(gram, torch.diag(gram.diag()), atol=1e-5, rtol=0)
    assert (rows.norm(dim=1)[1:].diff() < 0).all()


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_a_model_built_with_a_plate_asks_for_it(architecture: str) -> None:
    composite, mask, plate = scenes()
    with pytest.raises(ValueError, match="plate=True"):
        build_harmonizer(config(architecture=architecture, plate=True))(composite, mask)
    without = stirred(build_harmonizer(config(architecture=architecture)))
    assert torch.equal(without(composite, mask, plate).harmonized, without(composite, mask).harmonized)


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 12}, "width is 12"),
    ({"size": 16}, "size is 16"),
    ({"num_knots": 1}, "num_knots is 1"),
    ({"shading_limit": 0.6}, "shading_limit is 0.6"),
    ({"architecture": "paper", "width": 32}, "size is 64 and grid 4"),
    ({"edit": "neither"}, "edit is 'neither'"),
])  # fmt: skip
@pytest.mark.usefixtures("unguarded")
def test_a_shape_that_cannot_be_built_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_equal_seeds_build_equal_models() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_harmonizer(config()).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def published_state() -> dict[str, torch.Tensor]:
    """Names and shapes of the published file, without its values."""
    convolutions = {  # name: input and output channels, side of the kernel
        "conv1": (32, 64, 4), "conv2": (64, 128, 4), "conv3": (128, 256, 4), "conv3_1": (256, 512, 4), "conv3_2": (512, 1024, 4),
        "conv3_3": (1024, 2048, 4), "conv4_1": (2048, 1024, 3), "conv4_2": (1024, 512, 3), "conv4_3": (512, 256, 3),
        "conv4": (256, 128, 3), "conv5": (128, 64, 3), "conv6": (64, 32, 3), "conv7": (32, 32, 3), "conv8": (32, 32, 3),
    }  # fmt: skip
    bare = {"conv0": (10, 32, 3), "conv9": (32, 1, 3), "conv_only": (256, 1, 3)}
    state = {f"PL.{name}": tensor for name, tensor in ResNet50(7).state_dict().items()}
    state |= {"PL.fc.weight": torch.empty(96, 2048), "PL.fc.bias": torch.empty(96)}
    for name, (fan_in, fan_out, side) in convolutions.items():
        state[f"gainnet.{name}.0.weight"] = torch.empty(fan_out, fan_in, side, side)
        if name not in ("conv7", "conv8"):
            state |= {f"gainnet.{name}.1.{key}": tensor for key, tensor in nn.BatchNorm2d(fan_out).state_dict().items()}
    for name, (fan_in, fan_out, side) in bare.items():
        state |= {f"gainnet.{name}.weight": torch.empty(fan_out, fan_in, side, side), f"gainnet.{name}.bias": torch.empty(fan_out)}
    return state


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return published_state()


def test_the_published_file_has_the_published_count(published: dict[str, torch.Tensor]) -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(tensor.numel() for name, tensor in published.items() if not name.endswith(statistics)) == 93_641_314


def test_the_published_file_fills_the_paper_size_by_its_names(published: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        model = load_published(published)
    assert model.config == PublishedConfig(**{**dataclasses.asdict(paper_config()), "shading_limit": 0.6})
    assert not model.training


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda state: state | {"gainnet.conv_only_pre1.weight": state["PL.fc.bias"]}, "it has no gainnet.conv_only_pre1.weight"),
    (lambda state: {name: tensor for name, tensor in state.items() if name != "PL.fc.bias"}, "curve_net.head.bias"),
    (lambda state: state | {"PL.fc.bias": state["gainnet.conv0.bias"]}, "size mismatch"),
])  # fmt: skip
def test_a_file_that_is_not_the_published_one_is_refused(published: dict[str, torch.Tensor], spoil: Any, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        load_published(spoil(published))


def test_the_published_rendering_samples_half_pixel_curves_and_masks_twice() -> None:
    composite, mask, plate = scenes()
    with torch.device("meta"):
        model = PublishedConfig(**{**dataclasses.asdict(paper_config()), "shading_limit": 0.6}).build()
    edit = Edit({"curves": draw(2, 3, 32, seed=2), "shading": draw(2, 1, 64, 64, seed=3)})
    result = model.render(edit, composite, mask, plate)
    toned = mask * apply_curves(composite, edit["curves"], half_pixel=True) + (1 - mask) * plate
    gain = 0.6 + 0.4 * edit["shading"].sigmoid()
    torch.testing.assert_close(result.harmonized, toned * gain * mask + (1 - mask) * plate)


def test_the_published_head_convolves_the_upsampled_features() -> None:
    torch.manual_seed(0)
    early, late = (
        PaperShadingNet(7, 8, 256, published=flag).eval() for flag in (False, True)
    )
    late.load_state_dict(early.state_dict())
    known = draw(1, 7, 256, 256)
    features: list[torch.Tensor] = []
    early.head.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    with torch.no_grad():
        assert early(known, known[:, :3], known[:, :1]).shape == (1, 1, 16, 16)
        upsampled = nn.functional.interpolate(features[0], size=(256, 256), mode="bicubic", align_corners=False)
        torch.testing.assert_close(late(known, known[:, :3], known[:, :1]), early.head(upsampled))


def test_encoders_see_the_input_averaged_down() -> None:
    composite, mask, _ = scenes(2, 128)
    model = stirred(build_harmonizer(config(size=128, encoder_size=64, read_rim=True)))
    assert isinstance(model, ParametricHarmonizer)
    seen: list[torch.Size] = []
    model.curve_net.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    model.shading_net.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    model(composite, mask)
    assert seen == [(2, 4, 64, 64), (2, 7, 64, 64)]


# --- Architectures by name ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_config_comes_back_from_its_file(architecture: str) -> None:
    large = {"size": 256, "grid": 16, "width": 32} if architecture in ("matched", "paper", "published") else {}
    shape = config(architecture=architecture, **large)
    assert shape.architecture == architecture
    assert saved_config(**config_as_saved(shape)) == shape


def test_a_config_of_before_architectures_had_their_own_is_read() -> None:
    former = {
        "size": 64, "architecture": "pixel", "width": 8, "num_knots": 16, "grid": 8, "shading": "symmetric", "shading_limit": 1.6,
        "plate": False, "published": False, "encode_curves": True, "read_rim": False, "encoder_size": 64, "edit": "both",
    }  # fmt: skip
    assert saved_config(**former) == config(architecture="pixel", width=8)
    assert saved_config(**{**former, "architecture": "small"}) == config(num_knots=16, grid=8)


def test_a_config_of_before_sizes_were_evened_evens_none() -> None:
    shape = config(architecture="matched", size=256, width=32)
    former = {key: value for key, value in config_as_saved(shape).items() if key not in ("usual_size", "evenness")}
    assert saved_config(**former).restraint.evenness == 0.0


@pytest.mark.parametrize(("changes", "said"), [
    ({"architecture": "huge"}, "architecture is 'huge'; it must be one of small, matched"),
    ({"widht": 3}, "architecture 'pixel' has no widht"),
    ({"grid": 3}, "architecture 'pixel' has no grid"),
    ({"width": None}, "architecture 'pixel' also needs width"),
])  # fmt: skip
def test_a_setting_that_an_architecture_does_not_have_is_named(changes: dict[str, Any], said: str) -> None:
    values = {"architecture": "pixel", "size": 64, "plate": False, "width": 8, **changes}
    with pytest.raises(ValueError, match=said):
        harmonizer_config(**{name: value for name, value in values.items() if value is not None})
