"""Where a foreground goes in a background's frame, and where the background's own object goes back."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from tasks.mining.compositing import Box, Contact, Placement
from tasks.mining.pairing import Objects, paste_scale
from tasks.params import Mine


def place_foreground(objects: Objects, background: int, foreground: int, *, mine: Mine, rng: np.random.Generator) -> Placement:
    """Where the foreground goes in the background's frame, its true aspect kept in the background's photograph.

    mined: as large as the removed object by area of the box, foot on foot, sides that were cut off stay on the frame's edge.
    pih_random: the largest that fits into the removed object's box, centre on centre (methods of PIH's public code). Both with jitter.
    """
    photo_width, photo_height = objects.photo_size[background]
    left, top, right, bottom = objects.source_box[background]
    source = Box(*(int(side) for side in objects.source_box[foreground]))
    scale = float(paste_scale(objects, np.array([background]), np.array([foreground]), mine.mode)[0])
    width = scale * source.width * mine.size / photo_width
    height = scale * source.height * mine.size / photo_height
    frame = np.array([left / photo_width, top / photo_height, right / photo_width, bottom / photo_height]) * mine.size
    contact = Contact(*(bool(side) for side in objects.contact[foreground])) if mine.mode == "mined" else Contact()
    foot = frame[3] - height if mine.mode == "mined" else (frame[1] + frame[3] - height) / 2.0
    corner = np.array([(frame[0] + frame[2] - width) / 2.0, foot])
    target = _settle(corner, np.array([width, height]), contact, mine=mine, rng=rng)
    return Placement(source=source, target=target, contact=contact)


def place_natural(objects: Objects, background: int, *, mine: Mine, rng: np.random.Generator) -> Placement:
    """Where the background's own object goes back: near its place, resized a little and shifted, so that it is resampled as others are."""
    photo = np.tile(objects.photo_size[background].astype(np.float64), 2)
    frame = objects.source_box[background] / photo * mine.size
    contact = Contact(*(bool(side) for side in objects.contact[background]))
    factor = float(np.exp(rng.uniform(-1.0, 1.0) * np.log1p(mine.rescale)))
    extent = factor * (frame[2:] - frame[:2])
    corner = np.array([(frame[0] + frame[2] - extent[0]) / 2.0, frame[3] - extent[1]])
    source = Box(*(int(side) for side in objects.source_box[background]))
    return Placement(source=source, target=_settle(corner, extent, contact, mine=mine, rng=rng), contact=contact)


def _settle(
    corner: Float[np.ndarray, "2"], extent: Float[np.ndarray, "2"], contact: Contact, *, mine: Mine, rng: np.random.Generator
) -> Box:
    """A whole-pixel box of about `extent` at about `corner`, jittered, with cut-off sides on the frame's edge."""
    shift = rng.integers(-mine.jitter, mine.jitter + 1, size=2) if mine.jitter else np.zeros(2, np.int64)
    width, height = (max(2, round(float(side))) for side in extent)
    left, top = round(float(corner[0])) + int(shift[0]), round(float(corner[1])) + int(shift[1])
    box = Box(left, top, left + width, top + height)
    if contact.left or contact.right:
        start = 0 if contact.left else mine.size - width
        box = replace(box, left=start, right=mine.size if contact.left and contact.right else start + width)
    if contact.top or contact.bottom:
        start = 0 if contact.top else mine.size - height
        box = replace(box, top=start, bottom=mine.size if contact.top and contact.bottom else start + height)
    return box
