import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from models.rim import NUM_POINTS, NUM_RIM_FEATURES, RimEncoder, nearest_points, neighbourhoods, pooled_sums, rim_features, shifted_sums

SIZE = 64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def disc(size: int = SIZE, radius: float = 0.3) -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(-0.5, 0.5, size), torch.linspace(-0.5, 0.5, size), indexing="ij")
    return (rows.square() + columns.square() < radius**2).float()[None, None]


def test_one_surface_shows_the_edit_itself_on_every_scale() -> None:
    """A flat surface, its foreground shifted: at each point of the outline inside minus outside is the shift."""
    mask, shift = disc(), torch.tensor([0.1, -0.05, 0.2])
    image = torch.full((1, 3, SIZE, SIZE), 0.5) + shift.view(1, 3, 1, 1) * mask
    features, closeness = rim_features(image, mask)
    seen = features[closeness > 0]
    assert len(seen) > 50
    for scale in range(3):
        steps = seen[:, 15 * scale + 6 : 15 * scale + 9] / 3
        torch.testing.assert_close(steps, shift.expand_as(steps), atol=1e-3, rtol=0)


def test_moments_are_those_of_the_pixels_on_each_side() -> None:
    """The finest scale at one place, against numpy on the 3 x 3 pixels around it."""
    image, mask = draw(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 20:41, 20:41] = 1  # an odd number of rows and columns, so that windows lie across its left side unevenly
    features, closeness = rim_features(image, mask)
    pixels, region = image[0].permute(1, 2, 0).double().numpy(), mask[0, 0].numpy() > 0
    row, column = 30, 20  # a window's centre on the outline's inner side
    window = (slice(row - 1, row + 2), slice(column - 1, column + 2))
    inside, outside = pixels[window][region[window]], pixels[window][~region[window]]
    step = inside.mean(0) - outside.mean(0)
    wanted = np.concatenate([inside.mean(0), outside.mean(0), 3 * step, 3 * inside.std(0), 3 * outside.std(0)])
    distances = (features[0, closeness[0] > 0, :15] - torch.from_numpy(wanted).float()).abs().amax(dim=1)
    assert distances.min() < 0.01


def test_neighbourhoods_are_torchs_poolings_edges_too() -> None:
    values = draw(2, 5, 24, 36)
    halved = avg_pool2d(values, 2)
    expected = [
        avg_pool2d(values, 3, stride=2, padding=1, count_include_pad=False),
        avg_pool2d(halved, 3, stride=1, padding=1, count_include_pad=False),
        avg_pool2d(halved, 7, stride=1, padding=3, count_include_pad=False),
    ]
    for found, pooled in zip(neighbourhoods(values), expected, strict=True):
        torch.testing.assert_close(found, pooled, atol=1e-6, rtol=0)


def test_sums_are_the_same_by_poolings_as_of_shifted_images() -> None:
    values = draw(2, 5, 24, 36)
    for pooled, shifted in zip(pooled_sums(values), shifted_sums(values), strict=True):
        torch.testing.assert_close(pooled, shifted, atol=1e-5, rtol=1e-6)


def test_points_lie_on_the_outline_and_nearest_come_first() -> None:
    features, closeness = rim_features(draw(1, 3, SIZE, SIZE), disc())
    assert features.shape == (1, NUM_POINTS, NUM_RIM_FEATURES)
    assert closeness.shape == (1, NUM_POINTS)
    assert (closeness.diff(dim=1) <= 0).all()
    assert closeness.max() <= 1
    torch.testing.assert_close(features[..., -1], closeness)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_mask_without_outline_says_nothing(level: float) -> None:
    torch.manual_seed(0)
    encoder = RimEncoder(5, 8, 2)
    assert not encoder(draw(2, 3, SIZE, SIZE), torch.full((2, 1, SIZE, SIZE), level), draw(2, 5)).any()


def test_points_that_fill_up_a_short_outline_do_not_count() -> None:
    torch.manual_seed(0)
    encoder = RimEncoder(5, 8, 2)
    image, mask, context = draw(1, 3, SIZE, SIZE), disc(radius=0.08), draw(1, 5)
    features, closeness = rim_features(image, mask)
    assert (closeness == 0).any()
    elsewhere = image.clone()
    elsewhere[..., :16] = 0.9  # far from the outline: what the filling points see changes, the answer does not
    assert not torch.equal(features, rim_features(elsewhere, mask)[0])
    torch.testing.assert_close(encoder(image, mask, context), encoder(elsewhere, mask, context), atol=1e-4, rtol=0)


def test_what_lies_far_from_the_outline_is_not_seen() -> None:
    image, mask = draw(1, 3, SIZE, SIZE), disc(radius=0.2)
    elsewhere = image.clone()
    elsewhere[..., :4, :] = 0.0
    features, closeness = rim_features(image, mask)
    others, _ = rim_features(elsewhere, mask)
    on = closeness > 0
    torch.testing.assert_close(features[on], others[on])


def test_an_image_is_read_alone_as_in_a_batch() -> None:
    torch.manual_seed(0)
    encoder = RimEncoder(5, 8, 2)
    images, masks, context = draw(3, 3, SIZE, SIZE), torch.cat([disc(radius=radius) for radius in (0.1, 0.2, 0.3)]), draw(3, 5)
    torch.testing.assert_close(encoder(images, masks, context)[1:2], encoder(images[1:2], masks[1:2], context[1:2]), atol=1e-5, rtol=1e-5)


def test_moments_stay_exact_under_autocast() -> None:
    image, mask = draw(1, 3, SIZE, SIZE), disc()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = rim_features(image, mask)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, rim_features(image, mask)[0])


def test_which_points_are_looked_at_does_not_depend_on_rounding() -> None:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 8:-8, 8:-8] = 1  # its straight sides hold more equally near points than are looked at
    closeness = 4 * neighbourhoods(mask)[0] * neighbourhoods(1 - mask)[0]
    noise = 1e-6 * torch.rand(closeness.shape, generator=torch.Generator().manual_seed(0))
    first, second = (nearest_points((closeness + sign * noise).flatten(1), 32) for sign in (1, -1))
    assert torch.equal(first, second)
    assert (closeness.flatten(1).gather(1, first) > 0.8).all()
