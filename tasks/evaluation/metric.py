"""What a metric tells of itself, once: how it is measured, what it is called, how it is written, and which way is better."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.color.difference import SquaredErrors


@dataclass(frozen=True)
class Answer:
    """One answer to one test pair, looked at in one flavour, with what several metrics share."""

    prediction: np.ndarray  # (H, W, 3), 0..255, its background as the method left it
    target: np.ndarray
    mask: np.ndarray  # uint8 (H, W), soft
    squared: SquaredErrors  # in the flavour `masked` without the background's
    absolute: float  # the same of absolute differences, summed
    fmse: float  # in the flavour `issam` weighed by the mask
    similarity: float  # mean over the pixels whose window lies inside the image
    foreground_similarity: float
    delta_e: float  # nan where colour is not wanted
    peak: float  # of the PSNR


@dataclass(frozen=True)
class Metric:
    """A figure of one answer. Its name is its key in `tasks.evaluation.metrics.METRICS`: its column, and its key in the JSON."""

    label: str  # with its unit, if it has one
    digits: int  # after the point
    measure: Callable[[Answer], float]
    lower_is_better: bool = True
    is_shown: bool = True  # in the tables of all methods
    has_flavours: bool = True  # whether flavours differ in it
