"""Procedural surfaces: small tiles of colour that repeat without a seam, and their look-up.

Colours are linear-light reflectances, float32 in [0, 1].
"""

import colorsys

import cv2
import numpy as np
from jaxtyping import Float, Float32

Tile = Float32[np.ndarray, "S S 3"]
Color = Float[np.ndarray, "3"]

SIDE = 128  # px of a tile
PATTERNS = ("plain", "clouds", "marble", "stripes", "checks", "dots", "planks")


def random_color(rng: np.random.Generator, *, gaudiness: float = 1.0) -> Color:
    """A reflectance of any hue, greyish more often than not. gaudiness: of its saturation, 0 (grey) to 1."""
    hue, saturation, value = rng.random(), rng.beta(1.3, 2.0), rng.uniform(0.25, 0.95)
    return np.array(colorsys.hsv_to_rgb(hue, saturation * 0.9 * gaudiness, value)) ** 2.2


def random_palette(rng: np.random.Generator, *, gaudiness: float = 1.0) -> tuple[Color, Color]:
    """Two colours of one surface: the second a shade of the first, or one of its own."""
    first = random_color(rng, gaudiness=gaudiness)
    if rng.random() < 0.6:
        second = np.clip(first * np.exp(rng.normal(0.0, 0.5)) * np.exp(rng.normal(0.0, 0.15, 3)), 0.01, 0.85)
    else:
        second = random_color(rng, gaudiness=gaudiness)
    return first, second


def value_noise(rng: np.random.Generator, cells: int, octaves: int = 4) -> Float32[np.ndarray, "S S"]:
    """Smooth noise over a tile with 0 mean and unit deviation, periodic: `cells` random values per side, twice as many per octave."""
    total = np.zeros((SIDE, SIDE), dtype=np.float32)
    for octave in range(octaves):
        count = cells << octave
        if count > SIDE // 2:
            break
        grid = np.pad(rng.standard_normal((count, count)).astype(np.float32), 2, mode="wrap")
        scale = SIDE // count if SIDE % count == 0 else SIDE / count
        big = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        margin = round(2 * scale)
        total += big[margin : margin + SIDE, margin : margin + SIDE] * np.float32(0.5**octave)
    return np.asarray((total - total.mean()) / max(float(total.std()), 1e-6))


def random_tile(rng: np.random.Generator, pattern: str | None = None, *, gaudiness: float = 1.0) -> Tile:
    """A surface of one of `PATTERNS` (any, if None) in a random palette, with a little unevenness; periodic."""
    chosen = pattern or PATTERNS[rng.integers(len(PATTERNS))]
    first, second = (color.astype(np.float32) for color in random_palette(rng, gaudiness=gaudiness))
    blend = _blend(rng, chosen)[..., None]
    tile = first * (1.0 - blend) + second * blend
    roughness = np.float32(rng.uniform(0.02, 0.12))
    tile = tile * np.exp(roughness * value_noise(rng, 8, 3))[..., None]
    return np.asarray(np.clip(tile, np.float32(0.005), np.float32(0.9)))


def _blend(rng: np.random.Generator, pattern: str) -> Float32[np.ndarray, "S S"]:
    """How much of the second colour there is at each place, 0..1."""
    at = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    u, v = at[None, :], at[:, None]
    count = int(rng.integers(1, 4))
    turn = np.float32(2.0 * np.pi)
    if pattern == "plain":
        return np.zeros((SIDE, SIDE), dtype=np.float32)
    warp = value_noise(rng, 4, 3)
    if pattern == "clouds":
        wave = 0.9 * warp
    elif pattern == "marble":
        wave = 2.0 * np.sin(turn * (count * u + int(rng.integers(0, 3)) * v) + 1.2 * warp)
    elif pattern == "stripes":
        wave = 6.0 * np.sin(turn * 2 * count * u + 0.05 * warp) + 0.0 * v
    elif pattern == "checks":
        wave = 12.0 * np.sin(turn * count * u) * np.sin(turn * count * v)
    elif pattern == "dots":
        wave = 8.0 * (np.cos(turn * 2 * count * u) + np.cos(turn * 2 * count * v) - rng.uniform(0.3, 1.1))
    else:
        row = np.floor(v * 4 * count)
        tone = rng.uniform(0.0, 1.0, 4 * count).astype(np.float32)[row[:, 0].astype(int)][:, None]
        groove = np.exp(-(((v * 4 * count) % 1.0 - 0.5) / 0.47) ** 24)
        grain = np.sin(turn * 12 * count * v + 2.0 * value_noise(rng, 2, 2))
        return np.asarray(((0.7 * tone + 0.15 + 0.12 * grain + 0.0 * u) * groove).astype(np.float32))
    return np.asarray((0.5 + 0.5 * np.tanh(wave)).astype(np.float32))


def look_up(tile: Tile, u: Float32[np.ndarray, " N"], v: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "3 N"]:
    """Colours of `tile`, repeated for ever, at `u`, `v` in tiles: linear between its pixels."""
    columns = (u - np.floor(u)) * np.float32(SIDE) - np.float32(0.5)
    rows = (v - np.floor(v)) * np.float32(SIDE) - np.float32(0.5)
    width = 4096  # a row of the remapped picture: cv2 takes no side over 32767
    count = len(u)
    height = -(-count // width)
    shaped = [np.resize(part, (height, width)) if count else np.zeros((1, 1), np.float32) for part in (columns, rows)]
    colors = cv2.remap(tile, shaped[0], shaped[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.ascontiguousarray(colors.reshape(-1, 3)[:count].T)
