import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from models.discriminator import Discriminator, DiscriminatorConfig

SMALL = DiscriminatorConfig(size=64, width=8)
PAPER = DiscriminatorConfig(size=512, width=16)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_paper_size_has_its_published_parameters_and_goes_down_to_one_place() -> None:
    with torch.device("meta"):
        network = Discriminator(PAPER)
        assert sum(parameter.numel() for parameter in network.parameters()) == 17_477_201
        features = network.first(torch.empty(1, 3, 512, 512))
        sides = []
        for conv in network.down:
            features = conv(features)
            sides.append(features.shape[-1])
    assert sides == [128, 32, 8, 4, 2, 1]


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_there_is_a_logit_for_every_pixel(shape: tuple[int, int]) -> None:
    assert Discriminator(SMALL)(draw(2, 3, *shape)).shape == (2, 1, *shape)


def test_spectral_norm_is_on_all_convolutions_but_the_first_and_the_last() -> None:
    network = Discriminator(SMALL)
    bare = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d) and not is_parametrized(module)]
    assert bare == ["first", "last"]


def test_spectral_norm_brings_the_largest_singular_value_to_one() -> None:
    torch.manual_seed(0)
    network = Discriminator(SMALL)
    for _ in range(30):
        network(draw(1, 3, 64, 64))
    network.eval()
    for conv in [*network.down, *network.up, *network.smooth]:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.05)


def test_only_the_two_coarsest_levels_are_joined_across() -> None:
    torch.manual_seed(0)
    network = Discriminator(SMALL).eval()
    joined = []
    for level in range(len(network.down)):
        # A level that is joined across still reaches the output when everything below it is silent.
        silenced = network.down[level].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        joined.append(not torch.equal(network(draw(1, 3, 64, 64)), network(draw(1, 3, 64, 64, seed=1))))
        silenced.remove()
    assert joined == [False, False, True, True]


def test_it_learns_to_find_a_pasted_square() -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(size=32, width=8))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    background, mask = draw(4, 3, 1, 1).expand(4, 3, 32, 32), torch.zeros(4, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    composite = mask * (1 - background) + (1 - mask) * background
    for _ in range(30):
        loss = nn.functional.binary_cross_entropy_with_logits(network(composite), 1 - mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = network.eval()(composite)
    assert logits[mask == 1].mean() < 0 < logits[mask == 0].mean()
    assert loss < 0.5
