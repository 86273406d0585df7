"""Changes of light and tone that need no reference: retouch-like edits, and measured changes of illuminant.

A `Retouch` is what a photographer's sliders do, in this order: white balance, exposure and a smooth gradient of light (all in linear
light), tone curves and contrast (on encoded values), saturation. An `IlluminantChange` is a pair of measured polynomials.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

Image = UInt8[np.ndarray, "H W 3"]
Pixels = Float32[np.ndarray, "N 3"]
Row = tuple[float, ...]
Matrix = Float[np.ndarray, "R C"]

NUM_KNOTS = 5  # of a tone curve
LARGEST_RATIO = 2.0  # of two steps of a drawn tone curve: more, and some tones lose their texture
MOST_CONTRAST = 0.6  # of a drawn retouch: at black and white the slope is 1 - contrast
NUM_LIGHTS = 3  # control points of the light's gradient, per side
STEPS_PER_LEVEL = 16  # of the table for curves and contrast
WHITE_KELVIN = 6504.0  # the temperature that sRGB's white is taken for
LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709

# IEC 61966-2-1: linear sRGB -> XYZ. Bradford: XYZ -> sharpened cone responses, in which von Kries' scaling is done.
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

ILLUMINANTS_FILE = Path("illuminants/ccharmony_coefficients.zip")  # below paths.raw

# A measured change is kept if it moves the region by so much, in grey levels, and is well-behaved on it.
MIN_ILLUMINANT_CHANGE = 8.0
MAX_ILLUMINANT_CHANGE = 45.0
MAX_ILLUMINANT_CLIPPED = 0.02  # share of values that leave [0, 255]
ILLUMINANT_SAMPLE = 1024  # pixels that are looked at


@dataclass(frozen=True)
class Retouch:
    """One retouch; `IDENTITY` changes nothing. Plain numbers and tuples, so that `json` can hold it."""

    exposure: float  # stops
    temperature: float  # mired along the blackbody locus; positive is warmer
    tint: float  # thousandths of Duv off the locus; positive is greener
    contrast: float  # -1..1; the slope at mid-grey is 1 + contrast / 2
    saturation: float  # factor on the distance to grey
    curves: tuple[Row, Row, Row]  # R, G, B: values in [0, 1] at equally spaced inputs, rising
    light: tuple[Row, ...]  # stops, at equally spaced control points of rows and columns

    def __post_init__(self) -> None:
        if not -1.0 <= self.contrast <= 1.0:
            raise ValueError(f"retouch: contrast {self.contrast:g} is outside [-1, 1], where tones would change order")
        if self.saturation < 0.0:
            raise ValueError(f"retouch: saturation {self.saturation:g} is below 0")
        for name, curve in zip("RGB", self.curves, strict=True):
            if len(curve) < 2 or curve[0] < 0.0 or curve[-1] > 1.0 or min(np.diff(curve)) <= 0.0:
                raise ValueError(f"retouch: the {name} curve {curve} does not rise within [0, 1]")
        if len({len(row) for row in self.light}) != 1:
            raise ValueError(f"retouch: the rows of light {self.light} differ in length")


def _diagonal(count: int) -> Row:
    return tuple(k / (count - 1) for k in range(count))


_EVEN = ((0.0,) * NUM_LIGHTS,) * NUM_LIGHTS
IDENTITY = Retouch(
    exposure=0.0, temperature=0.0, tint=0.0, contrast=0.0, saturation=1.0, curves=(_diagonal(NUM_KNOTS),) * 3, light=_EVEN
)


@dataclass(frozen=True, eq=False)
class Illuminants:
    """Measured illuminants: polynomials to standard light and back, on [r g b rg rb gb r2 g2 b2 rgb 1] of values in [0, 255]."""

    names: tuple[str, ...]
    to_standard: Float[np.ndarray, "N 3 11"]
    from_standard: Float[np.ndarray, "N 3 11"]


@dataclass(frozen=True, eq=False)
class IlluminantChange:
    """From the light of one photograph to another's, by way of standard light."""

    first: str
    second: str
    to_standard: Float[np.ndarray, "3 11"]
    from_standard: Float[np.ndarray, "3 11"]


# --- Retouches --------------------------------------------------------------------------------------------------------------------------


def random_retouch(rng: np.random.Generator, *, strength: float = 1.0) -> Retouch:
    """A plausible retouch. Every slider is moved with a probability of its own, so that pure changes occur too.

    strength: factor on how far the sliders move; 0 gives the identity, 1 the field's distribution of composite fMSE (see `synthesis`).
    """
    def slider(deviation: float, probability: float, limit: float = 2.0) -> float:
        moved = rng.random() < probability
        value = float(np.clip(rng.standard_normal(), -limit, limit)) * deviation * strength
        return value if moved else 0.0

    exposure = slider(1.5, 0.9)
    temperature, tint = slider(45.0, 0.75), slider(6.0, 0.5)
    contrast = float(np.clip(slider(0.4, 0.5), -MOST_CONTRAST, MOST_CONTRAST))
    saturation = float(np.exp(slider(0.3, 0.5)))
    shared, own = slider(0.6, 0.6), slider(0.15, 0.5)
    low, high = abs(slider(0.05, 0.3)), abs(slider(0.06, 0.3))
    bend = rng.standard_normal(NUM_KNOTS - 1) * shared + rng.standard_normal((3, NUM_KNOTS - 1)) * own
    light = _random_light(rng, range_stops=2.0 * abs(slider(0.6, 0.6)))
    curves = (_rising(bend[0], low, 1.0 - high), _rising(bend[1], low, 1.0 - high), _rising(bend[2], low, 1.0 - high))
    return Retouch(
        exposure=exposure, temperature=temperature, tint=tint, contrast=contrast, saturation=saturation, curves=curves, light=light
    )


def _rising(bend: np.ndarray, low: float, high: float) -> Row:
    """Knots from `low` to `high` whose steps are in the ratios `exp(bend)`, drawn together until none is over `LARGEST_RATIO`."""
    rises = np.cumsum(np.exp(bend * min(1.0, np.log(LARGEST_RATIO) / max(float(np.ptp(bend)), 1e-9))))
    return (low, *(float(low + (high - low) * rise) for rise in rises / rises[-1]))


def _random_light(rng: np.random.Generator, *, range_stops: float) -> tuple[Row, ...]:
    """A slope in a random direction, a little bent, `range_stops` from its darkest to its brightest control point, and 0 on average."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = np.linspace(-1.0, 1.0, NUM_LIGHTS)
    grid = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None] + 0.35 * rng.standard_normal((NUM_LIGHTS, NUM_LIGHTS))
    grid = (grid - grid.mean()) * (range_stops / np.ptp(grid))
    return tuple(tuple(float(value) for value in row) for row in grid)


def apply_retouch(image: Image, retouch: Retouch) -> Image:
    """`image` retouched; its light gradient spans the whole of it.

    image: sRGB-encoded. Where exposure and light brighten, highlights roll off towards white instead of clipping
    (`k x / (1 + (k - 1) x)`, slope k at black); where they darken, they scale. Values leave [0, 1] by white balance and saturation only,
    and are cut there. `IDENTITY` leaves every image bit-exact.
    """
    height, width = image.shape[:2]
    linear: np.ndarray = cv2.LUT(image, _decoding_table())
    if retouch.temperature != 0.0 or retouch.tint != 0.0:
        linear = np.clip(cv2.transform(linear, white_balance_matrix(retouch.temperature, retouch.tint)), 0.0, 1.0)
    if retouch.exposure != 0.0 or any(any(row) for row in retouch.light):
        gain = np.exp2(retouch.exposure + light_stops(retouch.light, height, width))[..., None]
        linear = linear * gain / (1.0 + np.maximum(gain - 1.0, 0.0) * linear)
    encoded = encode_srgb(linear)
    index = np.rint(encoded * (255.0 * STEPS_PER_LEVEL)).astype(np.int32)
    tones = tone_tables(retouch)
    toned = cv2.merge([tones[channel][index[..., channel]] for channel in range(3)])
    if retouch.saturation != 1.0:
        toned = cv2.transform(toned, retouch.saturation * np.eye(3) + (1.0 - retouch.saturation) * LUMA)
    result: np.ndarray = np.clip(np.rint(toned * 255.0), 0.0, 255.0).astype(np.uint8)
    return result


def encode_srgb(linear: Float32[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W 3"]:
    """sRGB-encoded values of linear ones, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * cv2.pow(np.maximum(linear, 1e-6), 1.0 / 2.4) - 0.055).astype(np.float32)


def decode_srgb(encoded: np.ndarray) -> np.ndarray:
    """Linear values of sRGB-encoded ones, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@lru_cache(maxsize=1)
def _decoding_table() -> np.ndarray:
    return np.asarray(decode_srgb(np.arange(256) / 255.0).astype(np.float32))


def tone_tables(retouch: Retouch) -> Float32[np.ndarray, "3 T"]:
    """What curves and contrast make of equally spaced encoded values in [0, 1]: per channel, never decreasing."""
    from scipy.interpolate import PchipInterpolator  # not above: params name sources, and it takes half a second

    inputs = np.linspace(0.0, 1.0, 255 * STEPS_PER_LEVEL + 1)
    tables = np.empty((3, len(inputs)))
    for channel, curve in enumerate(retouch.curves):
        if curve == _diagonal(len(curve)):
            tables[channel] = inputs
        else:
            tables[channel] = PchipInterpolator(np.linspace(0.0, 1.0, len(curve)), curve)(inputs)
    tables += retouch.contrast * tables * (1.0 - tables) * (2.0 * tables - 1.0)
    return tables.astype(np.float32)


def light_stops(light: tuple[Row, ...], height: int, width: int) -> Float32[np.ndarray, "H W"]:
    """The gradient of light over an image, in stops: a Bezier surface over the control points, within their range, corners met.

    Control points all equal give that value everywhere; a plane gives a plane.
    """
    rows, columns = _bernstein(height, len(light)), _bernstein(width, len(light[0]))
    return np.asarray((rows @ np.array(light) @ columns.T).astype(np.float32))


def _bernstein(length: int, count: int) -> np.ndarray:
    at = np.linspace(0.0, 1.0, length)[:, None]
    k = np.arange(count)
    choose = np.array([comb(count - 1, int(i)) for i in k])
    return np.asarray(choose * at**k * (1.0 - at) ** (count - 1 - k))


def white_balance_matrix(temperature: float, tint: float) -> Matrix:
    """The 3x3 matrix on linear sRGB that moves white by `temperature` mired along the blackbody locus and `tint` / 1000 Duv off it.

    Von Kries' scaling of Bradford's cone responses; white keeps its luminance.
    """
    before = _white_xyz(0.0, 0.0)
    after = _white_xyz(temperature, tint)
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ after) / (BRADFORD @ before)) @ BRADFORD
    return np.asarray(np.linalg.inv(XYZ) @ adapt @ XYZ)


def blackbody_xy(kelvin: float) -> tuple[float, float]:
    """CIE 1931 x, y of a blackbody between 1,667 and 25,000 K; ValueError outside.

    Source: the cubic approximation of Kim et al., US patent 7,024,034 (2006).
    """
    if not 1667.0 <= kelvin <= 25000.0:
        raise ValueError(f"a blackbody of {kelvin:g} K is outside 1667..25000 K")
    t = 1e3 / kelvin
    if kelvin <= 4000.0:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    if kelvin <= 2222.0:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000.0:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return x, y


def _white_xyz(temperature: float, tint: float) -> np.ndarray:
    """XYZ, of Y = 1, of the white that lies `temperature` mired and `tint` / 1000 Duv from `WHITE_KELVIN`'s."""
    mired = np.clip(1e6 / WHITE_KELVIN + temperature, 1e6 / 25000.0 + 1.0, 1e6 / 1667.0 - 1.0)
    here, ahead = (_uv(*blackbody_xy(1e6 / (mired + step))) for step in (0.0, 1.0))
    along = (ahead - here) / np.linalg.norm(ahead - here)
    u, v = here + tint * 1e-3 * np.array([-along[1], along[0]])  # to the left of a locus that runs towards red: up, to green
    x, y = 3.0 * u / (2.0 * u - 8.0 * v + 4.0), 2.0 * v / (2.0 * u - 8.0 * v + 4.0)
    return np.array([x / y, 1.0, (1.0 - x - y) / y])


def _uv(x: float, y: float) -> np.ndarray:
    """CIE 1960 u, v of x, y."""
    return np.array([4.0 * x, 6.0 * y]) / (-2.0 * x + 12.0 * y + 3.0)


# --- Measured illuminants ---------------------------------------------------------------------------------------------------------------


def illuminants_for(weight: float, raw: Path) -> Illuminants | None:
    """The measured illuminants below `raw` if `weight` asks for them; ValueError naming key and path if they are not there."""
    return load_illuminants(raw / ILLUMINANTS_FILE) if weight > 0.0 else None


def load_illuminants(path: Path) -> Illuminants:
    """The illuminants in a zip of `NAME.npy` (to standard light) and `NAME_reverse.npy` (from it), each float (3, 11), by name.

    Folders inside the zip are left out of the names. Nothing is unpickled.
    Raises ValueError naming the file, and the entry, if one is missing, or not such an array, or stands without its reverse.
    Source: Niu et al., ccHarmony (ECCV 2022), `polynomial_matching_coefficients`.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; ingest.synthesis.weights.illuminant (or train.data.drawn's) above 0 needs it")
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
            found = {Path(name).name: np.asarray(archive[name]) for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a zip of .npy arrays ({error})") from error
    names = tuple(sorted(name for name in found if not name.endswith("_reverse")))
    if not names:
        raise ValueError(f"{path}: no NAME.npy in it")
    return Illuminants(
        names=names,
        to_standard=np.stack([_coefficients(found, name, path) for name in names]),
        from_standard=np.stack([_coefficients(found, f"{name}_reverse", path) for name in names]),
    )


def _coefficients(found: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in found:
        raise ValueError(f"{path}: no {name}.npy in it")
    values = found[name]
    if values.shape != (3, 11) or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError(f"{path}: {name}.npy is {values.dtype} {values.shape}, not finite float (3, 11)")
    return values.astype(np.float64)


def random_illuminant_change(
    illuminants: Illuminants, pixels: Pixels, *, rng: np.random.Generator, max_attempts: int = 32
) -> IlluminantChange | None:
    """A change of light that suits `pixels` (values in [0, 255]), or None where `max_attempts` draws gave none.

    Raw changes are strong and polynomials wild beyond their measurements. Kept is what moves `pixels` by `MIN_ILLUMINANT_CHANGE` to
    `MAX_ILLUMINANT_CHANGE` on average, takes hardly a value out of range, and lets every channel rise with itself at each pixel.
    """
    sample = pixels[:: -(-len(pixels) // ILLUMINANT_SAMPLE)]
    for _ in range(max_attempts):
        i, j = rng.choice(len(illuminants.names), size=2, replace=False)
        change = IlluminantChange(
            first=illuminants.names[i],
            second=illuminants.names[j],
            to_standard=illuminants.to_standard[i],
            from_standard=illuminants.from_standard[j],
        )
        if _suits(change, sample):
            return change
    return None


def _suits(change: IlluminantChange, sample: Pixels) -> bool:
    changed = map_illuminant(sample, change)
    moved = float(np.abs(changed - sample).mean())
    if not MIN_ILLUMINANT_CHANGE <= moved <= MAX_ILLUMINANT_CHANGE:
        return False
    if float(((changed < 0.0) | (changed > 255.0)).mean()) > MAX_ILLUMINANT_CLIPPED:
        return False
    steps = 4.0 * np.eye(3, dtype=np.float32)
    return all(bool(np.all(map_illuminant(sample + steps[c], change)[:, c] > changed[:, c])) for c in range(3))


def apply_illuminant_change(image: Image, change: IlluminantChange) -> Image:
    """`image` under the second light instead of the first; rounded and cut to [0, 255]."""
    mapped = map_illuminant(image.reshape(-1, 3).astype(np.float32), change)
    return np.asarray(np.clip(np.rint(mapped), 0.0, 255.0).astype(np.uint8).reshape(image.shape))


def map_illuminant(pixels: Pixels, change: IlluminantChange) -> Pixels:
    """RGB in [0, 255] under the second light instead of the first, unrounded and unclipped; standard light in between is not cut."""
    return _polynomial(_polynomial(pixels, change.to_standard), change.from_standard)


def _polynomial(pixels: Pixels, coefficients: Float[np.ndarray, "3 11"]) -> Pixels:
    r, g, b = np.ascontiguousarray(pixels.T, dtype=np.float32)
    terms = np.stack([r, g, b, r * g, r * b, g * b, r * r, g * g, b * b, r * g * b, np.ones_like(r)])
    return np.ascontiguousarray((coefficients.astype(np.float32) @ terms).T)
