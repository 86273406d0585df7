"""What an ICC profile means for an edit: the network looks at sRGB, the file keeps its own encoding.

The edit is carried from sRGB to the file's encoding channel by channel, `tone^-1 o curve o tone`, where `tone` takes the profile's encoded
levels to sRGB's. Neutral colours then come out exactly as they would in sRGB, whatever the profile; saturated ones keep their gamut (they
are never clipped to sRGB) and may differ a little, since the primaries differ. Profiles that share sRGB's tone curve (Display P3) leave an
edit as it is. Profiles without a tone curve per channel (look-up tables) are converted for the network's eyes only.
"""

import io
import struct

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from attune.operators.operator import EditArrays

NUM_SAMPLES = 4096  # of a tone curve
NEAR = 1 / 1024  # encoded; tone curves that stay so near the identity are sRGB's own, written with rounded numbers
LEAST_RISE = 1e-7
CHANNEL_TAGS = (b"rTRC", b"gTRC", b"bTRC")

Tone = Float[np.ndarray, "3 N"]


def to_srgb(image: UInt8[np.ndarray, "H W 3"], profile: bytes | None) -> UInt8[np.ndarray, "H W 3"]:
    """`image`, encoded as `profile` says, in sRGB (perceptual intent). None, or a profile that cannot be used, counts as sRGB."""
    if profile is None:
        return image
    if _color_space(profile) == b"GRAY":
        tone = tone_curves(profile)
        levels = np.rint(np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, NUM_SAMPLES), tone[0]) * 255) if tone is not None else None
        return image if levels is None else levels.astype(np.uint8)[image]
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(Image.fromarray(image), source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else np.array(converted, dtype=np.uint8)


def carry_edit(edit: EditArrays, profile: bytes | None) -> EditArrays:
    """`edit`, made for sRGB, as an edit of pixels that are encoded as `profile` says; see the top of this file.

    Each operator knows its own way there (`Operator.carried`).
    """
    tone = tone_curves(profile) if profile is not None else None
    inputs = np.linspace(0.0, 1.0, NUM_SAMPLES)
    if tone is None or np.abs(tone - inputs).max() < NEAR:
        return edit
    return edit.each(lambda step: step.carried(tone))


def tone_curves(profile: bytes) -> Tone | None:
    """sRGB's encoded level of a neutral colour for `NUM_SAMPLES` equally spaced encoded levels of `profile`, per channel.

    None if the profile holds no rising curve per channel, or is damaged.
    """
    try:
        tags = _tags(profile)
        names = CHANNEL_TAGS if CHANNEL_TAGS[0] in tags else (b"kTRC",) * 3
        tone = np.stack([_srgb_encoded(_linear(tags[name])) for name in names])
    except (KeyError, ValueError, IndexError, OverflowError, ZeroDivisionError, struct.error):
        return None
    if not np.isfinite(tone).all() or (np.diff(tone, axis=1) < 0).any() or (np.ptp(tone, axis=1) < 0.5).any():
        return None
    return tone + LEAST_RISE * np.linspace(0.0, 1.0, NUM_SAMPLES)  # rounded tables have steps; the inverse needs a slope


def _color_space(profile: bytes) -> bytes:
    return profile[16:20]


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError("no sane number of tags")
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count))
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _linear(tag: bytes) -> np.ndarray:
    """The light at each of the sampled levels, from a 'curv' or 'para' tag of an ICC profile (ICC.1:2022, 10.6 and 10.18)."""
    levels = np.linspace(0.0, 1.0, NUM_SAMPLES)
    if tag[:4] == b"para":
        kind = struct.unpack_from(">H", tag, 8)[0]
        numbers = [value / 65536 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)]
        return _parametric(kind, numbers, levels)
    if tag[:4] != b"curv":
        raise ValueError("no tone curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return levels
    if count == 1:
        return np.asarray(levels ** (struct.unpack_from(">H", tag, 12)[0] / 256))
    table = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535
    return np.interp(levels, np.linspace(0.0, 1.0, count), table)


def _parametric(kind: int, numbers: list[float], levels: np.ndarray) -> np.ndarray:
    g, a, b, c, d, e, f = [*numbers, *[0.0] * 7][:7]
    if kind == 0:
        return np.asarray(levels**g)
    power = np.maximum(a * levels + b, 0.0) ** g
    if kind in (1, 2):
        return np.where(levels >= -b / a, power + (c if kind == 2 else 0.0), c if kind == 2 else 0.0)
    return np.where(levels >= d, power + e, c * levels + f)


def _srgb_encoded(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
