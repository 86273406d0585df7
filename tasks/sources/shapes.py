"""Solids as signed distances: where rays meet them, which way they face, whom they shadow.

Points and directions are float32 (3, N), one contiguous row per coordinate; y is up. A signed distance is negative inside; those given here
are exact or never too long outside, so that a ray may step by them without passing through.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

Points = Float32[np.ndarray, "3 N"]
Distances = Float32[np.ndarray, " N"]

HIT_DISTANCE = 3e-3  # in scene units, where an object is about 1 across: well under a pixel
TRACE_STEPS = 80
SHADOW_STEPS = 20
ROUNDING = 0.12  # of the smallest half side: the radius of edges
TINY = 1e-9


@dataclass(frozen=True)
class Shape:
    """A solid: one of `KINDS`, its own three lengths (see the distance of its kind), and where it stands."""

    kind: str
    lengths: tuple[float, float, float]
    rotation: Float[np.ndarray, "3 3"]  # own axes -> the scene's
    center: Float[np.ndarray, "3"]

    @property
    def radius(self) -> float:
        """Of a sphere around `center` that holds the whole solid."""
        a, b, c = self.lengths
        radii = {
            "ellipsoid": max(a, b, c), "box": float(np.hypot(np.hypot(a, b), c)), "capsule": a + b, "torus": a + b,
            "cylinder": float(np.hypot(a, b)), "blob": max(a, b + c), "vase": float(np.hypot(a + abs(c), b)),
        }
        return radii[self.kind]


# --- Signed distances, in a shape's own axes ----------------------------------------------------------------------------------------------


def _length(*parts: np.ndarray) -> np.ndarray:
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total += part * part
    return np.asarray(np.sqrt(total, out=total))


def _ellipsoid(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Half axes. Exact for a sphere; else the first-order distance k0 (k0 - 1) / k1, k0 = |p / r| and k1 = |p / r^2|."""
    scaled = [p[i] / lengths[i] for i in range(3)]
    outer = _length(*scaled)
    inner = _length(*(scaled[i] / lengths[i] for i in range(3)))
    return np.asarray(outer * (outer - 1.0) / np.maximum(inner, TINY))


def _box(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Half sides, edges rounded by `ROUNDING`."""
    rounding = ROUNDING * min(lengths)
    beyond = [np.abs(p[i]) - (lengths[i] - rounding) for i in range(3)]
    outside = _length(*(np.maximum(part, 0.0) for part in beyond))
    return np.asarray(outside + np.minimum(np.maximum(np.maximum(beyond[0], beyond[1]), beyond[2]), 0.0) - rounding)


def _capsule(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Radius, half length of the axis along y."""
    radius, half, _ = lengths
    return np.asarray(_length(p[0], p[1] - np.clip(p[1], -half, half), p[2]) - radius)


def _torus(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Radius of the ring around y, radius of its tube."""
    ring, tube, _ = lengths
    return np.asarray(_length(_length(p[0], p[2]) - ring, p[1]) - tube)


def _cylinder(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Radius, half height along y; edges rounded by `ROUNDING`."""
    rounding = ROUNDING * min(lengths[:2])
    side = _length(p[0], p[2]) - (lengths[0] - rounding)
    top = np.abs(p[1]) - (lengths[1] - rounding)
    return np.asarray(_length(np.maximum(side, 0.0), np.maximum(top, 0.0)) + np.minimum(np.maximum(side, top), 0.0) - rounding)


def _blob(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """A ball of the first length, and one of the third whose middle lies the second up along y, melted together."""
    first, offset, second = lengths
    lower = _length(p[0], p[1], p[2]) - first
    upper = _length(p[0], p[1] - offset, p[2]) - second
    reach = 0.6 * second
    near = np.maximum(reach - np.abs(lower - upper), 0.0)
    return np.asarray(np.minimum(lower, upper) - near * near / (4.0 * reach))


def _vase(p: Points, lengths: tuple[float, float, float]) -> Distances:
    """Turned around y: mean radius, half height, swing of the radius over one and a half waves. Scaled to be never too long."""
    mean, half, swing = lengths
    wave = 1.5 * np.pi / half
    stretch = float(np.hypot(1.0, swing * wave))
    along = np.clip(p[1], -half, half)
    side = (_length(p[0], p[2]) - (mean + swing * np.sin(wave * along + 0.8))) / stretch
    return np.asarray(np.maximum(side, np.abs(p[1]) - half))


DISTANCES: dict[str, Callable[[Points, tuple[float, float, float]], Distances]] = {
    "ellipsoid": _ellipsoid, "box": _box, "capsule": _capsule, "torus": _torus, "cylinder": _cylinder, "blob": _blob, "vase": _vase,
}
KINDS = tuple(DISTANCES)


def drop(shape: Shape) -> float:
    """How far the lowest point of `shape` lies below its center, in closed form."""
    a, b, c = shape.lengths
    down = -shape.rotation[1]  # (0, -1, 0) in the shape's own axes
    flat = float(np.hypot(down[0], down[2]))
    if shape.kind == "ellipsoid":
        return float(np.linalg.norm(down * np.array(shape.lengths)))
    if shape.kind == "box":
        rounding = ROUNDING * min(a, b, c)
        return float(np.abs(down) @ (np.array(shape.lengths) - rounding)) + rounding
    if shape.kind == "capsule":
        return a + b * abs(float(down[1]))
    if shape.kind == "torus":
        return a * flat + b
    if shape.kind == "blob":
        return max(a, b * float(down[1]) + c)
    rounding = ROUNDING * min(a, b) if shape.kind == "cylinder" else 0.0
    widest = a if shape.kind == "cylinder" else a + abs(c)
    return (widest - rounding) * flat + (b - rounding) * abs(float(down[1])) + rounding


def signed_distance(shape: Shape, points: Points) -> Distances:
    """From `points` to the surface of `shape`, negative inside."""
    return DISTANCES[shape.kind](to_own_axes(shape, points), shape.lengths)


def to_own_axes(shape: Shape, points: Points) -> Points:
    """`points` of the scene in the axes of `shape`, its center at 0."""
    return shape.rotation.T.astype(np.float32) @ (points - shape.center.astype(np.float32)[:, None])


# --- Rays ---------------------------------------------------------------------------------------------------------------------------------


def _through_ball(
    shape: Shape, origins: Float32[np.ndarray, "3 #N"], directions: Points, margin: float
) -> tuple[Int[np.ndarray, " H"], Float32[np.ndarray, " H"], Float32[np.ndarray, " H"]]:
    """Which rays pass the shape's bounding ball, grown by the factor `margin`; where they enter and leave it."""
    to_center = shape.center.astype(np.float32)[:, None] - origins
    middle = np.einsum("ij,ij->j", np.broadcast_to(to_center, directions.shape), directions)
    half_squared = (margin * shape.radius) ** 2 - np.einsum("ij,ij->j", to_center, to_center) + middle * middle
    index = np.flatnonzero((half_squared > 0.0) & (middle > -margin * shape.radius))
    half = np.sqrt(half_squared[index])
    return index, np.maximum(middle[index] - half, 0.0), middle[index] + half


def trace(shape: Shape, origin: Float[np.ndarray, "3"], directions: Points) -> Distances:
    """How far along each unit direction from `origin`, outside, `shape` begins, within `HIT_DISTANCE`; inf where it is missed."""
    start = origin.astype(np.float32)[:, None]
    index, near, far = _through_ball(shape, start, directions, 1.0)
    own_start = to_own_axes(shape, start)
    own = shape.rotation.T.astype(np.float32) @ directions[:, index]
    distance = DISTANCES[shape.kind]
    found = np.full(directions.shape[1], np.inf, dtype=np.float32)
    for _ in range(TRACE_STEPS):
        step = distance(own_start + near * own, shape.lengths)
        near = near + step
        touching = step < HIT_DISTANCE
        found[index[touching]] = near[touching]
        going = ~touching & (near < far)
        index, near, far, own = index[going], near[going], far[going], own[:, going]
        if not len(index):
            break
    return found


def normals(shape: Shape, points: Points, *, step: float = 4e-3) -> Points:
    """Unit outward normals of `shape` at `points` near its surface: the gradient over the corners of a small tetrahedron."""
    own = to_own_axes(shape, points)
    gradient = np.zeros_like(own)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        offset = np.array(corner, dtype=np.float32)[:, None]
        gradient += offset * DISTANCES[shape.kind](own + step * offset, shape.lengths)
    gradient /= np.maximum(_length(*gradient), TINY)
    return np.asarray(shape.rotation.astype(np.float32) @ gradient)


def visibility(shape: Shape, points: Points, direction: Float[np.ndarray, "3"], sharpness: float) -> Distances:
    """Share of a light in `direction` that `shape` lets through to `points`, 0..1.

    The nearest pass of the ray, relative to the way gone and times `sharpness`, sets the half-shadow: the usual estimate for distances.
    """
    toward = np.broadcast_to(direction.astype(np.float32)[:, None], points.shape)
    index, near, far = _through_ball(shape, points, toward, 1.0 + 1.0 / sharpness)
    near = np.maximum(near, 0.02)
    own = to_own_axes(shape, points[:, index])
    own_direction = (shape.rotation.T @ direction).astype(np.float32)[:, None]
    seen = np.ones(points.shape[1], dtype=np.float32)
    for _ in range(SHADOW_STEPS):
        step = DISTANCES[shape.kind](own + near * own_direction, shape.lengths)
        passed = np.where(step < HIT_DISTANCE, np.float32(0.0), np.minimum(sharpness * step / near, np.float32(1.0)))
        seen[index] = np.minimum(seen[index], passed)
        near = near + np.maximum(step, 0.02)
        going = (passed > 0.0) & (near < far)
        index, near, far, own = index[going], near[going], far[going], own[:, going]
        if not len(index):
            break
    return np.asarray(seen * seen * (3.0 - 2.0 * seen))


def openness(shape: Shape, points: Points) -> Distances:
    """Share of the surroundings' light that reaches `points` past a `shape` that stands on their surface: the dark of a contact."""
    seen = np.ones(points.shape[1], dtype=np.float32)
    offset = points - shape.center.astype(np.float32)[:, None]
    index = np.flatnonzero(np.einsum("ij,ij->j", offset, offset) < (2.2 * shape.radius) ** 2)
    distance = np.maximum(signed_distance(shape, points[:, index]), 0.0)
    seen[index] = 1.0 - 0.7 * np.exp(-distance / (0.3 * shape.radius))
    return seen
