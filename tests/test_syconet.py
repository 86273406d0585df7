import math

import pytest
import torch

from models.losses import kl_divergence
from models.lut import identity_lut
from models.syconet import PAPER, Posterior, SycoNet, SycoNetConfig, draw_code, recolor_foreground

SMALL = SycoNetConfig(size=32, latent_dim=3, num_luts=4, lut_dim=5, width=8)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def photographs(count: int = 2, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    return draw(count, 3, size, size), mask


def test_the_paper_size_has_its_published_parameters() -> None:
    with torch.device("meta"):
        network = SycoNet(PAPER)
    assert sum(parameter.numel() for parameter in network.generator.parameters()) == 3_299_796
    assert network.basis.numel() == 294_780


@pytest.mark.parametrize(("size", "places"), [(32, 4), (64, 4), (128, 4), (256, 8)])
def test_at_least_four_by_four_places_are_averaged(size: int, places: int) -> None:
    network = SycoNet(SycoNetConfig(size=size, latent_dim=2, num_luts=2, lut_dim=3, width=8)).eval()
    seen: list[torch.Size] = []
    network.generator.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    photograph, mask = photographs(1, size)
    network.generate(photograph, mask, torch.zeros(1, 2))
    assert seen[0][-2:] == (places, places)


def test_weights_are_positive_and_sum_to_one() -> None:
    weights = SycoNet(SMALL).weigh(*photographs(), draw(2, 3))
    assert weights.shape == (2, 4)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_basis_tables_start_near_the_identity_but_apart() -> None:
    torch.manual_seed(0)
    basis = SycoNet(SMALL).basis.detach()
    assert (basis - identity_lut(5)).abs().max() < 0.3
    torch.testing.assert_close(basis.mean(dim=0), identity_lut(5), atol=1e-5, rtol=0)
    assert torch.pdist(basis.flatten(1)).min() > 0.1


def test_basis_tables_get_gradients_of_their_own() -> None:
    """Equal tables with equal weights would move together for ever."""
    network = SycoNet(SMALL)
    photograph, mask = photographs()
    recolor_foreground(network.generate(photograph, mask, draw(2, 3)), photograph, mask).square().mean().backward()
    assert network.basis.grad is not None
    assert torch.pdist(network.basis.grad.flatten(1)).min() > 0
    weight = network.generator.head.weight.grad
    assert weight is not None
    assert weight.abs().max() > 0


def test_the_code_changes_the_table() -> None:
    network = SycoNet(SMALL).eval()
    photograph, mask = photographs()
    tables = [network.generate(photograph, mask, torch.full((2, 3), value)) for value in (-1.0, 1.0)]
    assert (tables[0] - tables[1]).abs().max() > 1e-4


def test_the_background_is_copied_bit_for_bit_and_the_foreground_is_in_range() -> None:
    image, mask = photographs()
    luts = 3 * draw(2, 3, 5, 5, 5) - 1
    result = recolor_foreground(luts, image, mask)
    outside = (mask < 0.5).expand_as(image)
    assert torch.equal(result[outside], image[outside])
    assert not torch.equal(result[~outside], image[~outside])
    assert 0 <= result.min() <= result.max() <= 1


def test_tables_are_applied_at_any_resolution() -> None:
    network = SycoNet(SMALL).eval()
    luts = network.generate(*photographs(), draw(2, 3))
    large, mask = draw(2, 3, 50, 70), torch.ones(2, 1, 50, 70)
    assert recolor_foreground(luts, large, mask).shape == (2, 3, 50, 70)


def test_posterior_has_one_normal_per_code_dimension() -> None:
    photograph, mask = photographs()
    mean, log_variance = SycoNet(SMALL).encode(photograph, mask, draw(2, 3, 32, 32, seed=1))
    assert mean.shape == log_variance.shape == (2, 3)


def test_codes_have_the_posteriors_mean_and_deviation_and_repeat_with_the_seed() -> None:
    posterior = Posterior(torch.full((20000, 1), 2.0), torch.full((20000, 1), 2 * math.log(0.5)))
    codes = draw_code(posterior, torch.Generator().manual_seed(0))
    assert codes.mean().item() == pytest.approx(2, abs=0.02)
    assert codes.std().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(codes, draw_code(posterior, torch.Generator().manual_seed(0)))


def test_both_branches_learn_one_recolouring_through_the_code() -> None:
    """Two composites of one photograph can be told apart by the code alone."""
    torch.manual_seed(0)
    network = SycoNet(SMALL)
    photograph, mask = draw(1, 3, 32, 32).expand(4, -1, -1, -1).contiguous(), torch.ones(4, 1, 32, 32)
    composite = photograph * torch.tensor([0.6, 1.0, 0.6, 1.0]).view(4, 1, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        posterior = network.encode(photograph, mask, composite)
        rebuilt = recolor_foreground(network.generate(photograph, mask, draw_code(posterior)), photograph, mask)
        loss = (rebuilt - composite).abs().mean() + 1e-4 * kl_divergence(*posterior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


@pytest.mark.parametrize("size", [8, 48])
def test_a_size_that_cannot_be_halved_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"syconet.size is {size}"):
        SycoNetConfig(size=size, latent_dim=2, num_luts=2, lut_dim=3, width=8)
