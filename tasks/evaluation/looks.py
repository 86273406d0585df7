"""Photographic looks as three-dimensional tables, made from recipes of our own: a way to change colours that no training uses.

Training learns from transfers between photographs, illuminants and retouches. A photographer's finished look is neither: toes and
shoulders, tinted shadows, mixed channels, hues that turn by different angles. `LOOKS` names 36 of them, three of each of twelve recipes.
The numbers of a look are drawn from its name alone, so that it is the same table in every run and on every machine. They stand in this
room because the contracts keep training and ingestion from importing it.

All recipes work on sRGB-encoded values, as such tables do, and are held in [0, 1]; greys that are lighter stay lighter.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32

from tasks.seeds import numpy_generator

Colors = Float[np.ndarray, "N 3"]
Table = Float32[np.ndarray, "3 D D D"]
Recipe = Callable[[Colors, np.random.Generator], Colors]

NODES = (17, 21, 25, 33)  # a side: what photographers' programs write
VARIANTS = ("a", "b", "c")
LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, of encoded values
GRADE = (0.30, 0.65)  # ln of the power that a look begins with, either way: 0.45 becomes 0.55 to 0.66, or 0.34 to 0.22
BALANCE = 0.30  # the same, of each channel beside the others
_SEED = 0  # not the run's: a benchmark is the same for every run


# --- Steps ------------------------------------------------------------------------------------------------------------------------------


def luma_of(colors: Colors) -> Float[np.ndarray, "N 1"]:
    """BT.601 luma of encoded values."""
    return np.asarray((colors @ LUMA)[:, None])


def s_curve(colors: Colors, slope: np.ndarray, pivot: np.ndarray) -> Colors:
    """A toe and a shoulder per channel: a logistic of steepness `slope` (above 0) around `pivot`, scaled so that 0 and 1 stay."""
    low, high = (1 / (1 + np.exp(-slope * (end - pivot))) for end in (0.0, 1.0))
    return np.asarray((1 / (1 + np.exp(-slope * (colors - pivot))) - low) / (high - low))


def split_tone(colors: Colors, shadows: np.ndarray, lights: np.ndarray) -> Colors:
    """Shadows and lights tinted apart: each tint has no luma of its own, and fades where tones are the other's."""
    light = np.clip(luma_of(colors), 0.0, 1.0)
    tints = [tint - tint @ LUMA for tint in (shadows, lights)]
    return np.asarray(colors + 4 * light * (1 - light) * ((1 - light) * tints[0] + light * tints[1]))


def mix_channels(colors: Colors, cross: Float[np.ndarray, "3 3"]) -> Colors:
    """Each channel takes so much of the others, and gives up as much of itself: greys stay as they are."""
    matrix = cross - np.diag(np.diag(cross))
    return np.asarray(colors @ (matrix + np.diag(1 - matrix.sum(axis=1))).T)


def turn_hues(colors: Colors, turns: np.ndarray, stretches: np.ndarray) -> Colors:
    """Hue turned and saturation stretched by how much the hue itself says; luma stays.

    turns: radians at six hues, evenly around the circle of blue- and red-difference (Cb, Cr), from Cb's axis on; between them a smooth
    wave. stretches: factors on the distance to grey, likewise.
    """
    light = luma_of(colors)
    blue, red = (colors[:, 2:] - light) / 1.772, (colors[:, :1] - light) / 1.402  # Cb, Cr
    hue = np.arctan2(red, blue)
    length = np.hypot(blue, red) * _around(hue, stretches)
    hue = hue + _around(hue, turns)
    blue, red = length * np.cos(hue), length * np.sin(hue)
    green = -(0.299 * 1.402 * red + 0.114 * 1.772 * blue) / 0.587
    return np.asarray(light + np.concatenate([1.402 * red, green, 1.772 * blue], axis=1))


def _around(hue: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` at evenly spaced hues, blended over the two nearest by a raised cosine."""
    place = (hue / (2 * np.pi)) % 1.0 * len(values)
    below = np.floor(place).astype(int) % len(values)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - np.floor(place)))
    return np.asarray(values[below] * (1 - share) + values[(below + 1) % len(values)] * share)


def saturate(colors: Colors, factor: float) -> Colors:
    """The distance to grey times `factor`."""
    light = luma_of(colors)
    return np.asarray(light + factor * (colors - light))


def into(colors: Colors, low: np.ndarray | float, high: np.ndarray | float) -> Colors:
    """0 and 1 moved to `low` and `high`: lifted blacks, lowered whites."""
    return np.asarray(low + (high - low) * colors)


def grade(colors: Colors, rng: np.random.Generator) -> Colors:
    """What any finished look begins with: clearly darker or brighter, and its channels balanced apart; a power of each channel."""
    middle = rng.choice([-1.0, 1.0]) * rng.uniform(*GRADE)
    return np.asarray(np.clip(colors, 0.0, 1.0) ** np.exp(middle + rng.uniform(-BALANCE, BALANCE, 3)))


def light_gains(colors: Colors, gains: np.ndarray) -> Colors:
    """Channels multiplied in linear light (taken as a power of 2.2), held at 1."""
    return np.asarray(np.minimum(np.clip(colors, 0.0, 1.0) ** 2.2 * gains, 1.0) ** (1 / 2.2))


# --- Recipes: what each looks like, and how far its three variants go -------------------------------------------------------------------


def _film(colors: Colors, rng: np.random.Generator) -> Colors:
    """A colour negative's print: channels with curves of their own, dense but not black shadows, a little cross-talk."""
    curved = s_curve(colors, rng.uniform(2.5, 5.0, 3), rng.uniform(0.38, 0.55, 3))
    mixed = mix_channels(curved, rng.uniform(-0.06, 0.10, (3, 3)))
    return into(mixed, rng.uniform(0.0, 0.05, 3), rng.uniform(0.93, 1.0, 3))


def _split(colors: Colors, rng: np.random.Generator) -> Colors:
    """Cool shadows under warm lights, or the other way round."""
    sign = rng.choice([-1.0, 1.0])
    shadows, lights = np.array([-1.0, 0.1, 1.2]), np.array([1.2, 0.2, -1.3])
    toned = split_tone(colors, sign * rng.uniform(0.12, 0.22) * shadows, sign * rng.uniform(0.12, 0.22) * lights)
    return saturate(toned, rng.uniform(0.8, 1.05))


def _channels(colors: Colors, rng: np.random.Generator) -> Colors:
    """Dyes that see each other's colours."""
    return s_curve(mix_channels(colors, rng.uniform(-0.15, 0.35, (3, 3))), rng.uniform(1.0, 2.5, 3), rng.uniform(0.4, 0.6, 3))


def _hues(colors: Colors, rng: np.random.Generator) -> Colors:
    """Some hues turned and kept, others faded; tones a little up or down."""
    turned = turn_hues(colors, rng.uniform(-0.45, 0.45, 6), rng.uniform(0.55, 1.45, 6))
    return np.asarray(np.clip(turned, 0.0, 1.0) ** rng.uniform(0.75, 1.3))


def _bleach(colors: Colors, rng: np.random.Generator) -> Colors:
    """Bleach bypass: the picture under its own black and white, harder and paler."""
    light = luma_of(colors)
    over = np.where(light < 0.5, 2 * colors * light, 1 - 2 * (1 - colors) * (1 - light))
    share = rng.uniform(0.5, 0.85)
    return saturate(colors + share * (over - colors), rng.uniform(0.45, 0.7))


def _cross(colors: Colors, rng: np.random.Generator) -> Colors:
    """Slide film in the chemistry of negatives: steep red and green, flat blue with lifted blacks."""
    slope = np.array([rng.uniform(4.5, 6.5), rng.uniform(3.5, 5.5), rng.uniform(0.8, 1.6)])
    curved = s_curve(colors, slope, np.array([rng.uniform(0.45, 0.55), rng.uniform(0.42, 0.5), 0.5]))
    return into(curved, np.array([0.0, 0.0, rng.uniform(0.08, 0.18)]), np.array([1.0, 1.0, rng.uniform(0.75, 0.9)]))


def _night(colors: Colors, rng: np.random.Generator) -> Colors:
    """Day for night: one to two stops down, towards blue, pale."""
    dark = light_gains(saturate(colors, rng.uniform(0.4, 0.7)), 2.0 ** -rng.uniform([1.4, 1.1, 0.5], [2.0, 1.6, 1.0]))
    return s_curve(dark, np.full(3, rng.uniform(0.8, 2.0)), np.full(3, 0.5))


def _faded(colors: Colors, rng: np.random.Generator) -> Colors:
    """A print that lay in the sun: dyes gone unevenly, nothing black and nothing white."""
    pale = saturate(colors, rng.uniform(0.55, 0.8))
    return into(pale, rng.uniform([0.10, 0.07, 0.06], [0.22, 0.18, 0.16]), rng.uniform([0.88, 0.84, 0.70], [0.97, 0.94, 0.86]))


def _teal_orange(colors: Colors, rng: np.random.Generator) -> Colors:
    """The cinema's two colours: blues and greens drawn to teal, reds and yellows to orange, shadows teal."""
    turned = turn_hues(colors, rng.uniform(0.6, 1.0) * np.array([0.35, -0.15, -0.30, 0.25, 0.30, -0.40]), rng.uniform(0.85, 1.25, 6))
    toned = split_tone(turned, rng.uniform(0.1, 0.2) * np.array([-1.0, 0.3, 0.6]), rng.uniform(0.05, 0.15) * np.array([1.0, 0.2, -0.9]))
    return s_curve(toned, np.full(3, rng.uniform(1.5, 3.0)), np.full(3, rng.uniform(0.42, 0.55)))


def _golden(colors: Colors, rng: np.random.Generator) -> Colors:
    """The last hour of light: warm gains, opened shadows, fuller yellows."""
    warm = light_gains(colors, 2.0 ** rng.uniform([0.2, -0.1, -1.0], [0.6, 0.1, -0.5]))
    return turn_hues(warm, np.zeros(6), rng.uniform(0.9, 1.3, 6))


def _matte(colors: Colors, rng: np.random.Generator) -> Colors:
    """The matte look of portraits: lifted, flattened, a tint in what is left of black."""
    flat = into(s_curve(colors, rng.uniform(0.5, 1.5, 3), rng.uniform(0.4, 0.6, 3)), rng.uniform(0.08, 0.2, 3), rng.uniform(0.82, 0.95, 3))
    return split_tone(saturate(flat, rng.uniform(0.65, 0.95)), rng.uniform(-0.15, 0.15, 3), rng.uniform(-0.15, 0.15, 3))


def _two_strip(colors: Colors, rng: np.random.Generator) -> Colors:
    """Two dyes for three colours: green and blue see much the same."""
    shared = rng.uniform(0.5, 0.85)
    between = colors[:, 1:].mean(axis=1, keepdims=True)
    two = np.concatenate([colors[:, :1], colors[:, 1:] + shared * (between - colors[:, 1:])], axis=1)
    return s_curve(saturate(two, rng.uniform(0.9, 1.25)), rng.uniform(1.5, 3.5, 3), rng.uniform(0.42, 0.56, 3))


RECIPES: Mapping[str, Recipe] = MappingProxyType({
    "film": _film, "split_tone": _split, "channels": _channels, "hues": _hues, "bleach_bypass": _bleach, "cross_process": _cross,
    "day_for_night": _night, "faded_print": _faded, "teal_orange": _teal_orange, "golden_hour": _golden, "matte": _matte,
    "two_strip": _two_strip,
})
LOOKS: tuple[str, ...] = tuple(f"{recipe}_{variant}" for recipe in RECIPES for variant in VARIANTS)


def make_look(name: str) -> Table:
    """The table of the look called `name`: values in [0, 1], indexed [channel, red, green, blue], node i at input i / (D - 1).

    Raises ValueError if no look has this name.
    """
    if name not in LOOKS:
        raise ValueError(f"{name!r} is no look; there are: {', '.join(LOOKS)}")
    rng = numpy_generator(_SEED, "look", name)
    dim = int(rng.choice(NODES))
    colored = np.clip(RECIPES[name.rpartition("_")[0]](grade(_nodes(dim), rng), rng), 0.0, 1.0)
    return np.ascontiguousarray(colored.T.reshape(3, dim, dim, dim), np.float32)


def at_strength(table: Table, strength: float) -> Table:
    """`table` for `strength` of its change: 0 is the identity, 1 the table itself. Raises ValueError outside [0, 1]."""
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength {strength:g} is outside [0, 1]")
    dim = table.shape[-1]
    identity = _nodes(dim).T.reshape(table.shape)
    return np.asarray(identity + strength * (table - identity), np.float32)


def _nodes(dim: int) -> Colors:
    """The colour at each node of a table, blue running fastest."""
    axis = np.linspace(0.0, 1.0, dim)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
