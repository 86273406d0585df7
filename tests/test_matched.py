"""The matched harmonizer: it starts by changing nothing, sees only what it says, and is restrained only when it is used."""

from dataclasses import replace

import pytest
import torch

from models.matched import MatchedConfig, MatchedHarmonizer, cell_colors, cell_means, observe
from models.restraint import DARKEST, Restraint, excess_black, seen_pixels

CONFIG = MatchedConfig(
    size=64, plate=False, num_knots=8, grid=4, shading="symmetric", shading_limit=1.6, width=16, depth=1, dropout=0.0, use_features=True,
    use_attention=True, use_matrix=True, use_shading=True, read_rim=True, least_size=0.0, softness=0.25, doubt_weight=0.0, usual_size=0.17,
    evenness=0.0, most_lift=1.0, most_haze=0.0,
)


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    composite = torch.rand(2, 3, 64, 64, generator=generator)
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 10:40, 12:44] = 1
    mask[1, :, 30:60, 5:25] = 1
    return composite, mask


def decided(config: MatchedConfig = CONFIG) -> MatchedHarmonizer:
    """A harmonizer whose heads have been moved from zero."""
    torch.manual_seed(3)
    model = config.build()
    with torch.no_grad():
        for name, parameter in model.decide.named_parameters():
            if "head" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("parts", [{}, {"use_matrix": False}, {"use_shading": False}, {"use_attention": False}, {"read_rim": False},
                                   {"use_features": False}])
def test_an_untrained_harmonizer_changes_nothing(pictures, parts):
    model = replace(CONFIG, **parts).build().eval()
    composite, mask = pictures
    result = model(composite, mask)
    assert set(result.edit.numbers) == {operator.name for operator in model.config.operators}
    torch.testing.assert_close(result.harmonized, composite, atol=1e-5, rtol=0)


def test_the_background_stays_bit_for_bit(pictures):
    composite, mask = pictures
    harmonized = decided()(composite, mask).harmonized
    outside = (mask == 0).expand_as(composite)
    assert torch.equal(harmonized[outside], composite[outside])
    assert (harmonized - composite).abs().max() > 0.01


def test_features_stay_as_they_are_in_training_and_everything_else_is_learned(pictures):
    model = CONFIG.build()
    loss = model(*pictures).harmonized.square().mean()
    loss.backward()
    assert all(parameter.grad is None for parameter in model.features.parameters())
    learned = {id(parameter) for parameter in model.learned()}
    assert learned == {id(parameter) for parameter in model.decide.parameters()}


def test_an_edit_does_not_depend_on_the_other_images_of_the_batch(pictures):
    composite, mask = pictures
    model = decided()
    together = model.predict(composite, mask)
    for place in range(2):
        alone = model.predict(composite[place : place + 1], mask[place : place + 1])
        for name, numbers in alone.numbers.items():
            torch.testing.assert_close(numbers[0], together[name][place], atol=1e-5, rtol=1e-4)


def test_cells_hold_the_mean_of_their_region_alone(pictures):
    composite, mask = pictures
    share = torch.nn.functional.avg_pool2d(mask, 16).flatten(1)
    colors = cell_colors(composite, mask, share)
    inside = mask[0, 0, 16:32, 16:32] > 0
    expected = composite[0, :, 16:32, 16:32][:, inside].mean(dim=1)
    torch.testing.assert_close((colors[0, 5, :3] + 1) / 2, expected, atol=2e-3, rtol=0)
    assert colors[0, 5, 7] == inside.float().mean()
    level = torch.rand(2, 5, 16, 16)
    changed = torch.where(torch.nn.functional.avg_pool2d(mask, 4) == 0, level + 9, level)
    torch.testing.assert_close(cell_means(level, mask, 4), cell_means(changed, mask, 4))


def test_what_is_observed_has_a_column_for_every_feature(pictures):
    composite, mask = pictures
    levels = [torch.rand(2, channels, 64 // stride, 64 // stride) for channels, stride in ((24, 4), (40, 8), (112, 16))]
    seen = observe(composite, mask, levels, read_rim=False)
    assert [tuple(features.shape) for features in seen.features] == [(2, 16, 176)] * 2
    assert seen.rim.shape[1] == 0
    torch.testing.assert_close(seen.shares[0] + seen.shares[1], torch.ones(2, 16))


def test_weights_fit_any_size(pictures):
    larger = replace(CONFIG, size=96).build().eval()
    larger.load_state_dict(decided().state_dict())
    assert larger.predict(*pictures)["curves"].shape == (2, 3, 8)


def test_small_edits_fade_when_used_and_not_when_trained(pictures):
    fading = decided(replace(CONFIG, least_size=0.9, softness=0.05))
    free = decided()
    composite, mask = pictures
    torch.testing.assert_close(fading(composite, mask).harmonized, composite, atol=1e-3, rtol=0)
    trained, wanted = (model.train().predict(composite, mask) for model in (fading, free))
    torch.testing.assert_close(trained["curves"], wanted["curves"])


def test_blacks_are_not_lifted_beyond_what_is_allowed(pictures):
    composite, mask = pictures
    composite = 0.3 * composite
    lifting = replace(CONFIG, use_shading=False)
    model, held = (config.build().eval() for config in (lifting, replace(lifting, most_lift=0.02, most_haze=0.02)))
    with torch.no_grad():
        for one in (model, held):
            one.decide.curves_head.bias[::8] = 0.35  # the constant cosine of each channel
    restraint = Restraint(most_lift=0.02, most_haze=0.02)
    seen = seen_pixels(composite), seen_pixels(mask)
    before, after = (excess_black(seen[0], seen_pixels(one(composite, mask).harmonized), seen[1], restraint) for one in (model, held))
    assert (before[0] - before[1] > 0.1).all()
    assert (after[0] - after[1] < 0.03).all()  # where a channel is black already, it can be pulled down no further
    assert 0 < DARKEST < 0.1


@pytest.mark.parametrize(("wrong", "said"), [
    ({"size": 70}, "size is 70"), ({"width": 12}, "width is 12"), ({"shading": "darken"}, "darken"), ({"plate": True}, "plate"),
    ({"dropout": 1.0}, "dropout"), ({"most_lift": -1.0}, "most_lift"),
])
def test_a_shape_that_cannot_be_is_refused_by_its_name(wrong, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **wrong)
