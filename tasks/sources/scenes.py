"""Rendered scenes with an exact ground truth: a lit object in a lit scene, and the same object brought under another light.

Target: one light shades ground, walls, background objects and the object alike. Composite: the same picture, but the object's own pixels
are shaded under another light: colour temperature, exposure, direction and share of ambient light differ, so the error is global and local
at once. The object's shadow stays that of the scene's light in both, as in a photograph whose object alone was recoloured.

Shading and compositing are done in linear light, on 2x2 samples per pixel: a pixel of the object's outline is the mean of its samples'
light in both images, the mask is the share of samples on the object, and pixels outside the mask are equal bit for bit. Then sRGB encoding
and noise, the same for both. Simplified: parallel light, no interreflection but a tint from the ground, no shadow upon objects.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, UInt8

from tasks.color.difference import foreground_mse
from tasks.color.recolor import LUMA, XYZ, blackbody_xy, encode_srgb
from tasks.sources.shapes import Distances, Points, Shape, drop, normals, openness, to_own_axes, trace, visibility
from tasks.sources.textures import Tile, look_up, random_color, random_tile

SAMPLES = 2  # per pixel and axis
NEUTRAL_KELVIN = 6500.0
MIN_KELVIN, MAX_KELVIN = 2500.0, 10000.0

# How far the object's light departs from the scene's: deviations, times a strength drawn per scene. Chosen so that the composites' fMSE
# has the 5/50/95 percentiles of iHarmony4's (HFlickr: 229/1091/5399).
MIRED_DEVIATION = 80.0
EXPOSURE_DEVIATION = 0.70  # stops
ANGLE_DEVIATION = 36.0  # degrees
AMBIENT_DEVIATION = 0.40  # of the natural logarithm
STRENGTH_DEVIATION = 0.35  # of the natural logarithm
MIN_FMSE, MAX_FMSE = 150.0, 9000.0  # outside, another light is drawn

MIN_COVERAGE, MAX_COVERAGE = 0.03, 0.45  # share of the picture; outside, another setting is drawn
MAX_CUT = 0.10  # share of the object's samples on the picture's border rows and columns
ATTEMPTS = 12


@dataclass(frozen=True)
class Light:
    """A far lamp and the light from all around that goes with it."""

    direction: tuple[float, float, float]  # unit, towards the lamp
    kelvin: float
    exposure: float  # stops
    ambient: float  # from all around, relative to the lamp seen face on


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered pair and what it was made with. Images are sRGB-encoded."""

    composite: UInt8[np.ndarray, "S S 3"]
    target: UInt8[np.ndarray, "S S 3"]
    mask: UInt8[np.ndarray, "S S"]
    scene_light: Light
    object_light: Light
    camera_kelvin: float  # of the light that the camera renders as white
    shape: str


@dataclass(frozen=True, eq=False)
class _Solid:
    shape: Shape
    tile: Tile
    scale: float  # tiles per unit
    gloss: float  # of the highlight, against the lamp
    shininess: float


@dataclass(frozen=True, eq=False)
class _Plane:
    normal: Float[np.ndarray, "3"]
    offset: float  # of the points p on it: normal . p
    across: Float[np.ndarray, "3"]
    tile: Tile
    scale: float


@dataclass(frozen=True, eq=False)
class _Setting:
    origin: Float[np.ndarray, "3"]
    directions: Points
    planes: tuple[_Plane, ...]
    solids: tuple[_Solid, ...]  # the first is the object
    horizon: Float[np.ndarray, "3"]
    zenith: Float[np.ndarray, "3"]
    clouds: Tile
    haze: float  # scene units until the ground is lost in the horizon
    sharpness: float  # of shadows


@dataclass(frozen=True, eq=False)
class _Hits:
    depth: Distances
    owner: UInt8[np.ndarray, " N"]  # 0 sky, 1.. planes, then solids


def render_scene(rng: np.random.Generator, size: int) -> Scene:
    """A scene of `size` x `size` px, wholly determined by the state of `rng`.

    Draws settings until the object is well in the picture, then lights for the object until the composite's fMSE is within
    `MIN_FMSE`..`MAX_FMSE` (at most `ATTEMPTS` of each; the last one stands).
    """
    for _ in range(ATTEMPTS):
        setting = _random_setting(rng, size)
        hits = _meet(setting)
        if _well_framed(hits.owner == len(setting.planes) + 1, size):
            break
    walled = len(setting.planes) > 1
    light = _random_light(rng, walled)
    camera_kelvin = _between(light.kelvin, NEUTRAL_KELVIN, rng.uniform(0.0, 0.7))
    linear, on_object, geometry = _render_samples(setting, hits, light, camera_kelvin)
    gain = rng.uniform(0.45, 0.95) / max(float(np.percentile(LUMA @ linear[:, ::5], 95.0)), 1e-6)
    noise = (rng.uniform(0.0, 1.2) * rng.standard_normal((size, size, 3))).astype(np.float32)
    coverage = _mean_of_samples(on_object[None].astype(np.float32), size)[..., 0]
    mask = np.rint(coverage * 255.0).astype(np.uint8)
    target = _develop(linear, gain, noise)
    for _ in range(ATTEMPTS):
        object_light = _other_light(rng, light)
        relit = linear.copy()
        relit[:, on_object] = _shade_solid(setting, setting.solids[0], geometry, object_light, camera_kelvin)
        composite = _develop(relit, gain, noise)
        if MIN_FMSE <= foreground_mse(composite, target, mask) <= MAX_FMSE:
            break
    return Scene(composite, target, mask, light, object_light, camera_kelvin, setting.solids[0].shape.kind)


# --- Light --------------------------------------------------------------------------------------------------------------------------------


def light_color(kelvin: float, camera_kelvin: float = NEUTRAL_KELVIN) -> Float[np.ndarray, "3"]:
    """Linear sRGB of a blackbody's light, of luminance 1, to a camera that renders `camera_kelvin` as white; never negative.

    Scaled per channel, as cameras do. ValueError outside 1,667..25,000 K.
    """
    ratio = _blackbody_rgb(kelvin) / _blackbody_rgb(camera_kelvin)
    return np.asarray(ratio / (LUMA @ ratio))


@lru_cache(maxsize=4096)
def _blackbody_rgb(kelvin: float) -> Float[np.ndarray, "3"]:
    x, y = blackbody_xy(kelvin)
    linear = np.linalg.solve(XYZ, np.array([x / y, 1.0, (1.0 - x - y) / y]))
    return np.asarray(np.maximum(linear, 1e-3))


def _between(first: float, second: float, share: float) -> float:
    """The temperature `share` of the way from `first` to `second`, in mired, where equal steps look equal."""
    return 1e6 / ((1.0 - share) * 1e6 / first + share * 1e6 / second)


def shade(
    albedo: Float32[np.ndarray, "3 N"], facing: Points, view: Points, light: Light, *, camera_kelvin: float = NEUTRAL_KELVIN,
    gloss: float = 0.0, shininess: float = 20.0, visible: Distances | float = 1.0, open_share: Distances | float = 1.0,
    floor: Float[np.ndarray, "3"] | None = None,
) -> Float32[np.ndarray, "3 N"]:
    """Linear light from surfaces of reflectance `albedo` that face `facing` (unit), seen along `view` (unit, from the camera).

    Lambert's cosine law and Blinn and Phong's highlight for the lamp, dimmed by `visible`; light from all around, from above as it is and
    from below tinted by the `floor`'s reflectance (white if None), dimmed by `open_share`. A white face turned to a lamp of 6500 K,
    exposure 0 and no ambient light gives 1 in every channel.
    """
    direction = np.array(light.direction, dtype=np.float32)
    lamp = (2.0**light.exposure * light_color(light.kelvin, camera_kelvin)).astype(np.float32)
    around = light.ambient * 2.0**light.exposure * light_color(_between(light.kelvin, NEUTRAL_KELVIN, 0.4), camera_kelvin)
    below = np.ones(3) if floor is None else floor
    up = 0.5 + 0.5 * facing[1]
    cosine = np.maximum(direction @ facing, 0.0) * visible
    from_below = (below * (around + 0.35 * max(light.direction[1], 0.0) * lamp * (light.ambient > 0.0))).astype(np.float32)
    diffuse = lamp[:, None] * cosine + (around.astype(np.float32)[:, None] * up + from_below[:, None] * (1.0 - up)) * open_share
    result = albedo * diffuse
    if gloss > 0.0:
        halfway = direction[:, None] - view
        halfway /= np.sqrt(np.einsum("ij,ij->j", halfway, halfway)) + np.float32(1e-6)
        peak = np.maximum(np.einsum("ij,ij->j", facing, halfway), 0.0) ** np.float32(shininess)
        result += np.float32(gloss) * lamp[:, None] * (peak * (cosine > 0.0))
    return np.asarray(result)


def _random_light(rng: np.random.Generator, walled: bool) -> Light:
    azimuth = np.radians(rng.uniform(10.0, 170.0)) if walled or rng.random() < 0.6 else rng.uniform(0.0, 2.0 * np.pi)
    elevation = np.radians(rng.uniform(18.0, 72.0))
    flat = float(np.cos(elevation))
    direction = (flat * float(np.cos(azimuth)), float(np.sin(elevation)), flat * float(np.sin(azimuth)))
    kelvin = 1e6 / rng.uniform(1e6 / MAX_KELVIN, 1e6 / MIN_KELVIN)
    return Light(direction, float(kelvin), 0.0, float(np.exp(rng.uniform(np.log(0.12), np.log(0.7)))))


def _other_light(rng: np.random.Generator, light: Light) -> Light:
    """A light that departs from `light` by random steps of a common random strength, its lamp still above the ground."""
    strength = float(np.exp(STRENGTH_DEVIATION * rng.standard_normal()))
    mired, exposure, angle, ambient = strength * rng.standard_normal(4)
    kelvin = 1e6 / np.clip(1e6 / light.kelvin + MIRED_DEVIATION * mired, 1e6 / MAX_KELVIN, 1e6 / MIN_KELVIN)
    old = np.array(light.direction)
    sideways = np.cross(old, rng.standard_normal(3))
    sideways /= np.linalg.norm(sideways)
    turn = np.radians(np.clip(ANGLE_DEVIATION * angle, -110.0, 110.0))
    direction = np.cos(turn) * old + np.sin(turn) * sideways
    direction[1] = max(abs(direction[1]), 0.15)
    direction /= np.linalg.norm(direction)
    return Light(
        direction=(float(direction[0]), float(direction[1]), float(direction[2])), kelvin=float(kelvin),
        exposure=light.exposure + EXPOSURE_DEVIATION * float(exposure),
        ambient=float(np.clip(light.ambient * np.exp(AMBIENT_DEVIATION * ambient), 0.05, 1.0)),
    )


# --- Settings -----------------------------------------------------------------------------------------------------------------------------


def _random_setting(rng: np.random.Generator, size: int) -> _Setting:
    origin, directions = _random_camera(rng, size)
    ground = _Plane(np.array([0.0, 1.0, 0.0]), 0.0, _level(rng.uniform(0.0, np.pi)), _wide_tile(rng), float(rng.uniform(0.25, 0.9)))
    planes = [ground]
    back = float(rng.uniform(-4.5, -2.8))
    kind = rng.choice(["open", "wall", "corner"], p=[0.45, 0.3, 0.25])
    if kind != "open":
        turns = [rng.uniform(-0.35, 0.35)] if kind == "wall" else list(rng.uniform(0.5, 1.1) + np.array([0.0, -np.pi / 2]))
        tile, scale = _wide_tile(rng), float(rng.uniform(0.25, 0.8))
        for turn in turns:
            normal = np.array([np.sin(turn), 0.0, np.cos(turn)])
            across = np.array([np.cos(turn), 0.0, -np.sin(turn)])
            planes.append(_Plane(normal, back * (1.0 if kind == "wall" else 0.8), across, tile, scale))
    solids = [_random_solid(rng, rng.uniform(-0.45, 0.45), rng.uniform(-0.2, 0.3), 1.0)]
    for _ in range(int(rng.integers(1, 3))):
        for _ in range(ATTEMPTS):
            solid = _random_solid(rng, rng.uniform(-2.2, 2.2), rng.uniform(0.65 * back, -0.6), float(rng.uniform(0.7, 1.4)))
            if all(_apart(solid.shape, other.shape) for other in solids):
                solids.append(solid)
                break
    blue = random_color(rng, gaudiness=0.5) * 0.5 + np.array([0.25, 0.4, 0.65]) * rng.uniform(0.3, 1.2)
    horizon = 0.5 * blue + rng.uniform(0.3, 0.7)
    return _Setting(
        origin=origin, directions=directions, planes=tuple(planes), solids=tuple(solids), horizon=horizon, zenith=blue,
        clouds=random_tile(rng, "clouds", gaudiness=0.3), haze=float(rng.uniform(8.0, 40.0)), sharpness=float(rng.uniform(5.0, 30.0)),
    )


def _wide_tile(rng: np.random.Generator) -> Tile:
    """Of a ground or a wall: seldom as gaudy as a thing."""
    return random_tile(rng, gaudiness=float(rng.uniform(0.2, 0.8)))


def _level(turn: float) -> Float[np.ndarray, "3"]:
    return np.array([np.cos(turn), 0.0, np.sin(turn)])


def _apart(first: Shape, second: Shape) -> bool:
    return float(np.linalg.norm((first.center - second.center)[[0, 2]])) > 0.9 * (first.radius + second.radius)


def _random_camera(rng: np.random.Generator, size: int) -> tuple[Float[np.ndarray, "3"], Points]:
    """Where the camera stands, before the setting (+z), and the unit directions of its samples, row by row."""
    origin = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.5, 2.4), rng.uniform(3.2, 5.2)])
    forward = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.35, 0.9), 0.0]) - origin
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    roll = np.radians(rng.normal(0.0, 2.0))
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    reach = np.tan(np.radians(rng.uniform(28.0, 44.0)) / 2.0)
    at = (((np.arange(size * SAMPLES) + 0.5) / (size * SAMPLES) * 2.0 - 1.0) * reach).astype(np.float32)
    forward, right, up = (axis.astype(np.float32)[:, None, None] for axis in (forward, right, up))
    rays = (forward - up * at[None, :, None]) + right * at[None, None, :]
    rays /= np.sqrt(1.0 + at[:, None] ** 2 + at[None, :] ** 2)  # the three axes are orthonormal
    return origin, rays.reshape(3, -1)


def _random_solid(rng: np.random.Generator, x: float, z: float, scale: float) -> _Solid:
    """A solid on the ground at `x`, `z`, about `scale` units across."""
    kinds = ["ellipsoid", "box", "capsule", "torus", "cylinder", "blob", "vase"]
    kind = str(rng.choice(kinds, p=[0.25, 0.17, 0.12, 0.12, 0.12, 0.11, 0.11]))
    r = rng.uniform(0.34, 0.62) * scale
    stretch = np.exp(rng.normal(0.0, 0.22, 3))
    lengths = {
        "ellipsoid": tuple(r * (stretch if rng.random() < 0.5 else np.ones(3))), "box": tuple(0.8 * r * stretch),
        "capsule": (0.6 * r, 0.7 * r * stretch[0], 0.0), "torus": (0.8 * r, r * rng.uniform(0.22, 0.4), 0.0),
        "cylinder": (0.7 * r * stretch[0], 0.9 * r * stretch[1], 0.0), "blob": (0.8 * r, r, r * rng.uniform(0.4, 0.65)),
        "vase": (0.6 * r, 1.1 * r, r * rng.uniform(-0.2, 0.2)),
    }[kind]
    upright = kind == "vase" or (kind in ("box", "cylinder", "blob") and rng.random() < 0.7)
    rotation = _turned(rng.uniform(0.0, 2.0 * np.pi), 0.0 if upright else rng.uniform(-1.3, 1.3))
    resting = Shape(kind, (float(lengths[0]), float(lengths[1]), float(lengths[2])), rotation, np.zeros(3))
    shape = Shape(kind, resting.lengths, rotation, np.array([x, drop(resting), z]))
    gloss = float(rng.uniform(0.02, 0.25)) if rng.random() < 0.6 else 0.0
    shininess = float(np.exp(rng.uniform(np.log(6.0), np.log(90.0))))
    tile = random_tile(rng, gaudiness=float(rng.uniform(0.4, 1.0)))
    return _Solid(shape, tile, float(rng.uniform(0.4, 1.2) / scale), gloss, shininess)


def _turned(yaw: float, tilt: float) -> Float[np.ndarray, "3 3"]:
    around_y = np.array([[np.cos(yaw), 0.0, np.sin(yaw)], [0.0, 1.0, 0.0], [-np.sin(yaw), 0.0, np.cos(yaw)]])
    around_x = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(tilt), -np.sin(tilt)], [0.0, np.sin(tilt), np.cos(tilt)]])
    return np.asarray(around_y @ around_x)


# --- Rendering ----------------------------------------------------------------------------------------------------------------------------


def _meet(setting: _Setting) -> _Hits:
    """What each sample's ray meets first, and how far away."""
    count = setting.directions.shape[1]
    depth = np.full(count, np.inf, dtype=np.float32)
    owner = np.zeros(count, dtype=np.uint8)
    for number, plane in enumerate(setting.planes, start=1):
        slope = plane.normal.astype(np.float32) @ setting.directions
        with np.errstate(divide="ignore"):
            away = np.float32(plane.offset - plane.normal @ setting.origin) / slope
        nearer = (away > 0.0) & (away < depth)
        depth[nearer], owner[nearer] = away[nearer], number
    for number, solid in enumerate(setting.solids, start=len(setting.planes) + 1):
        away = trace(solid.shape, setting.origin, setting.directions)
        nearer = away < depth
        depth[nearer], owner[nearer] = away[nearer], number
    return _Hits(depth, owner)


def _well_framed(on_object: np.ndarray, size: int) -> bool:
    picture = on_object.reshape(size * SAMPLES, size * SAMPLES)
    share = float(picture.mean())
    border = int(picture[[0, -1]].sum() + picture[:, [0, -1]].sum())
    return bool(MIN_COVERAGE <= share <= MAX_COVERAGE and border <= MAX_CUT * np.sqrt(picture.sum()) * 4.0)


@dataclass(frozen=True, eq=False)
class _Geometry:
    """What shading a solid needs that no light changes."""

    albedo: Float32[np.ndarray, "3 N"]
    facing: Points
    view: Points


def _render_samples(
    setting: _Setting, hits: _Hits, light: Light, camera_kelvin: float,
) -> tuple[Float32[np.ndarray, "3 N"], np.ndarray, _Geometry]:
    """Linear light of every sample under `light`; which samples are the object's; the object's geometry."""
    linear = np.empty((3, len(hits.depth)), dtype=np.float32)
    sky = np.flatnonzero(hits.owner == 0)
    linear[:, sky] = _sky(setting, setting.directions[:, sky], light, camera_kelvin)
    for number, plane in enumerate(setting.planes, start=1):
        index = np.flatnonzero(hits.owner == number)
        linear[:, index] = _shade_plane(setting, plane, index, depth=hits.depth[index], light=light, camera_kelvin=camera_kelvin)
    geometries = []
    for number, solid in enumerate(setting.solids, start=len(setting.planes) + 1):
        index = np.flatnonzero(hits.owner == number)
        geometries.append(_geometry(setting, solid, index, hits.depth[index]))
        linear[:, index] = _shade_solid(setting, solid, geometries[-1], light, camera_kelvin)
    return linear, hits.owner == len(setting.planes) + 1, geometries[0]


def _geometry(setting: _Setting, solid: _Solid, index: np.ndarray, depth: Distances) -> _Geometry:
    view = setting.directions[:, index]
    points = setting.origin.astype(np.float32)[:, None] + depth * view
    facing = normals(solid.shape, points)
    # the tile is laid on from three sides, each weighted by how far the surface faces it
    own = to_own_axes(solid.shape, points) * np.float32(solid.scale)
    weight = (solid.shape.rotation.T.astype(np.float32) @ facing) ** 4
    weight /= weight.sum(axis=0)
    albedo = np.zeros_like(points)
    for axis, (u, v) in enumerate(((2, 1), (0, 2), (0, 1))):
        albedo += weight[axis] * look_up(solid.tile, own[u], own[v])
    return _Geometry(albedo, facing, view)


def _shade_solid(setting: _Setting, solid: _Solid, geometry: _Geometry, light: Light, camera_kelvin: float) -> Float32[np.ndarray, "3 N"]:
    return shade(
        geometry.albedo, geometry.facing, geometry.view, light, camera_kelvin=camera_kelvin, gloss=solid.gloss, shininess=solid.shininess,
        floor=setting.planes[0].tile.mean(axis=(0, 1)),
    )


def _shade_plane(
    setting: _Setting, plane: _Plane, index: np.ndarray, *, depth: Distances, light: Light, camera_kelvin: float,
) -> Float32[np.ndarray, "3 N"]:
    """Linear light of the samples `index`, `depth` away, whose rays meet `plane`: textured, shadowed, in an open setting hazy far away."""
    view = setting.directions[:, index]
    points = setting.origin.astype(np.float32)[:, None] + depth * view
    up = np.cross(plane.normal, plane.across)
    albedo = look_up(plane.tile, *(np.float32(plane.scale) * (axis.astype(np.float32) @ points) for axis in (plane.across, up)))
    slant = np.abs(plane.normal.astype(np.float32) @ view)
    fade = 1.0 / (1.0 + (0.012 * plane.scale * depth / np.maximum(slant, 1e-3)) ** 2)  # a distant tile shows its mean: no moire
    mean = plane.tile.mean(axis=(0, 1))[:, None]
    albedo = mean + fade * (albedo - mean)
    visible, open_share = np.ones_like(depth), np.ones_like(depth)
    for solid in setting.solids:
        visible *= visibility(solid.shape, points, np.array(light.direction), setting.sharpness)
        open_share *= openness(solid.shape, points)
    facing = np.broadcast_to(plane.normal.astype(np.float32)[:, None], points.shape)
    floor = setting.planes[0].tile.mean(axis=(0, 1))
    result = shade(
        albedo, facing, view, light, camera_kelvin=camera_kelvin, visible=visible * (0.5 + 0.5 * open_share), open_share=open_share,
        floor=floor,
    )
    if len(setting.planes) > 1:
        return result
    clear = np.exp(-np.maximum(depth - 4.0, 0.0) / np.float32(setting.haze))
    level = _sky_level(light, camera_kelvin)
    return np.asarray(clear * result + (1.0 - clear) * (setting.horizon * level)[:, None].astype(np.float32))


def _sky(setting: _Setting, directions: Points, light: Light, camera_kelvin: float) -> Float32[np.ndarray, "3 N"]:
    height = np.clip(directions[1] * np.float32(2.0), 0.0, 1.0)
    flat = directions[1] + np.float32(0.25)
    clouds = look_up(setting.clouds, 0.3 * directions[0] / flat, 0.3 * directions[2] / flat)
    horizon, zenith = (color.astype(np.float32)[:, None] for color in (setting.horizon, setting.zenith))
    colors = horizon * (1.0 - height) + zenith * height
    veil = height * (0.6 - 0.5 * height)
    level = _sky_level(light, camera_kelvin).astype(np.float32)
    return np.asarray((colors * (1.0 - veil) + clouds * veil) * level[:, None])


def _sky_level(light: Light, camera_kelvin: float) -> Float[np.ndarray, "3"]:
    """What a white sky shows: brighter the more of the light comes from all around."""
    color = light_color(_between(light.kelvin, NEUTRAL_KELVIN, 0.4), camera_kelvin)
    return np.asarray(2.0**light.exposure * (0.35 + light.ambient) * color)


def _mean_of_samples(samples: Float32[np.ndarray, "C N"], size: int) -> Float32[np.ndarray, "S S C"]:
    blocks = samples.reshape(-1, size, SAMPLES, size, SAMPLES)
    total = (blocks[:, :, 0, :, 0] + blocks[:, :, 0, :, 1] + blocks[:, :, 1, :, 0] + blocks[:, :, 1, :, 1]) / np.float32(SAMPLES * SAMPLES)
    return np.ascontiguousarray(total.transpose(1, 2, 0))


def _develop(linear: Float32[np.ndarray, "3 N"], gain: float, noise: Float32[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S 3"]:
    """The picture of linear samples: exposed by `gain`, cut at white, averaged per pixel, sRGB-encoded, with `noise` in grey levels."""
    pixels = _mean_of_samples(np.minimum(linear * np.float32(gain), 1.0), len(noise))
    return np.asarray(np.clip(np.rint(encode_srgb(pixels) * 255.0 + noise), 0.0, 255.0).astype(np.uint8))
