import math

import pytest
import torch

from models.losses import (
    LEAST_MSE,
    discriminator_loss,
    error_prediction_loss,
    foreground_l1,
    foreground_mse,
    foreground_rmse,
    generator_loss,
    kl_divergence,
    kl_per_dimension,
    tone_ends,
    whole_image_l1,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def square_mask(size: int, side: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., :side, :side] = 1
    return mask


def test_reconstruction_losses_are_zero_for_the_target_itself() -> None:
    image, mask = draw(2, 3, 8, 8), draw(2, 1, 8, 8, seed=1)
    for loss in (whole_image_l1, foreground_l1, foreground_mse):
        assert loss(image, image, mask) == 0


def test_a_known_error_has_its_closed_form() -> None:
    target, mask = torch.zeros(1, 3, 16, 16), square_mask(16, 4)
    prediction = 0.5 * mask.expand(-1, 3, -1, -1)
    assert whole_image_l1(prediction, target, mask).item() == pytest.approx(0.5 * 16 / 256)
    assert foreground_l1(prediction, target, mask).item() == pytest.approx(0.5)
    assert foreground_mse(prediction, target, mask).item() == pytest.approx(0.25)


def test_foreground_losses_do_not_depend_on_the_area_above_the_least() -> None:
    masks = [square_mask(64, side) for side in (8, 32)]
    small, large = (foreground_mse(0.2 * mask.expand(-1, 3, -1, -1), torch.zeros(1, 3, 64, 64), mask) for mask in masks)
    torch.testing.assert_close(small, large)


def test_smaller_foregrounds_count_as_the_least_area_at_any_resolution() -> None:
    for size in (64, 256):
        mask = square_mask(size, size // 64)  # 1/4096 of the image; the least area is 100/65536 of it
        loss = foreground_mse(mask.expand(-1, 3, -1, -1), torch.zeros(1, 3, size, size), mask)
        assert loss.item() == pytest.approx(16 / 100)


def test_discriminator_targets_are_one_minus_mask_for_composites_and_one_for_natural_images() -> None:
    mask = square_mask(8, 4)
    right = discriminator_loss(40 * (1 - 2 * mask), torch.full((1, 1, 8, 8), 40.0), mask)
    assert right < 1e-6
    assert discriminator_loss(40 * (2 * mask - 1), torch.full((1, 1, 8, 8), 40.0), mask) > 10
    assert discriminator_loss(40 * (1 - 2 * mask), torch.full((1, 1, 8, 8), -40.0), mask) > 10
    zeros = torch.zeros(1, 1, 8, 8)
    assert discriminator_loss(zeros, zeros, mask).item() == pytest.approx(2 * math.log(2))


def test_generator_wants_natural_everywhere() -> None:
    assert generator_loss(torch.full((1, 1, 4, 4), 40.0)) < 1e-6
    assert generator_loss(torch.zeros(1, 1, 4, 4)).item() == pytest.approx(math.log(2))


def test_balanced_terms_weigh_foreground_and_background_alike() -> None:
    mask = square_mask(16, 2)
    wrong_inside = 40 * torch.ones(1, 1, 16, 16)
    natural = wrong_inside
    plain, balanced = (discriminator_loss(wrong_inside, natural, mask, balanced=flag) for flag in (False, True))
    assert plain.item() == pytest.approx(40 * 4 / 256, rel=1e-4)
    assert balanced.item() == pytest.approx(0.5 * 40, rel=1e-4)
    assert generator_loss(-wrong_inside * mask, mask, balanced=True).item() == pytest.approx(0.5 * (40 + math.log(2)), rel=1e-4)
    with pytest.raises(ValueError, match="needs the mask"):
        generator_loss(natural, balanced=True)


def test_kl_equals_torchs_and_is_zero_for_the_prior() -> None:
    mean, log_variance = draw(5, 3) - 0.5, draw(5, 3, seed=1) - 0.5
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * log_variance).exp()), prior)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected.sum(dim=1).mean())
    torch.testing.assert_close(kl_per_dimension(mean, log_variance), expected.mean(dim=0))
    assert kl_divergence(torch.zeros(2, 4), torch.zeros(2, 4)) == 0


def test_rmse_is_the_mean_of_the_images_roots():
    target, mask = torch.rand(3, 3, 16, 16), torch.ones(3, 1, 16, 16)
    offsets = torch.tensor([0.0, 0.1, 0.3]).view(3, 1, 1, 1)
    expected = (offsets.flatten().square() + LEAST_MSE).sqrt().mean()
    torch.testing.assert_close(foreground_rmse(target + offsets, target, mask), expected)


def test_tone_ends_see_lifted_blacks_and_are_blind_to_a_permutation_of_the_pixels():
    target, mask = torch.rand(2, 3, 20, 20), torch.ones(2, 1, 20, 20)
    assert tone_ends(target.flip(3), target, mask).item() < 1e-6
    hazy = 0.2 + 0.8 * target
    luma = 0.299 * target[:, 0] + 0.587 * target[:, 1] + 0.114 * target[:, 2]
    ends = [luma.flatten(1).sort(dim=1).values[:, place] for place in (int(0.03 * 400), int(0.97 * 399))]
    expected = sum((0.2 - 0.2 * end).mean() for end in ends)
    torch.testing.assert_close(tone_ends(hazy, target, mask), expected, atol=1e-5, rtol=0)


def test_tone_ends_look_at_the_foreground_alone_and_at_enough_of_it():
    target, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    elsewhere = target.clone()
    elsewhere[..., 8:] = 0
    assert tone_ends(elsewhere, target, mask).item() == 0
    mask[..., 2:, :] = 0
    assert tone_ends(0.5 * target, target, mask).item() == 0


def test_predicted_errors_are_right_where_they_are_the_logarithms_of_the_rmse():
    target, mask = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    composite, prediction = target + 0.2, target + 0.05
    right = torch.log(torch.tensor([[0.2, 0.05]] * 2))
    assert error_prediction_loss(right, composite, prediction, target, mask).item() < 0.01
    assert error_prediction_loss(right + 1, composite, prediction, target, mask).item() == pytest.approx(1.0, abs=0.01)
