"""What every operator of an edit is, and an edit as a list of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float

LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709
MAX_NUMBERS = 65536  # of one list in a file


@dataclass(frozen=True)
class Window:
    """Where in a picture of `height` x `width` px the pixels lie that an operator is given."""

    height: int
    width: int
    rows: slice
    columns: slice


class Operator(ABC):
    """One step of an edit, with its numbers. It checks them when it is made: ValueError with the value and its limit."""

    name: ClassVar[str]
    is_pointwise: ClassVar[bool]  # whether a pixel's result depends on its own colour alone, so that a 3D table can hold it

    @classmethod
    @abstractmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "Operator":
        """The step from what a network predicts, and what is fixed of it: `settings` of the operator's torch form."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "Operator":
        """What `to_json` gave, bit for bit. ValueError naming `name`, the key and what is wrong."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values that keep every bit."""

    @abstractmethod
    def scaled(self, strength: float) -> "Operator":
        """The step `strength` of the way from no change: 0 changes nothing, 1 is the step itself, 2 goes twice as far."""

    @abstractmethod
    def apply(self, pixels: Float[np.ndarray, "h w 3"], window: Window) -> Float[np.ndarray, "h w 3"]:
        """The pixels after this step. Encoded as the picture is, white = 1, in [0, 1] before and after; the type stays."""

    @abstractmethod
    def describe(self) -> str:
        """What it does, in a few words with its largest numbers: a line of the report."""

    def for_grey(self) -> "Operator":
        """The step for a grey picture, which stays grey."""
        return self

    def carried(self, tone: Float[np.ndarray, "3 N"]) -> "Operator":
        """The step, made for sRGB, for pixels of another encoding. tone: sRGB's level at N equally spaced levels of that encoding."""
        del tone
        return self

    def export(self, folder: Path, height: int, width: int) -> tuple[dict[str, str], dict[str, Any]]:
        """Write what other tools can use of a step that no table holds, for a picture of that size.

        By name, what each file is; and what edit.json says of them.
        """
        del folder, height, width
        return {}, {}


Step = TypeVar("Step", bound=Operator)


@dataclass(frozen=True)
class EditArrays:
    """An edit of one image: operators in the order in which they are applied, each at most once."""

    steps: tuple[Operator, ...]

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError(f"the operators are {', '.join(names)}; each must be there once")

    def find(self, kind: type[Step]) -> Step | None:
        """The step of a kind; None if the edit has none."""
        return next((step for step in self.steps if isinstance(step, kind)), None)

    def get(self, kind: type[Step]) -> Step:
        """The step of a kind. Raises ValueError if the edit has none."""
        if (found := self.find(kind)) is None:
            raise ValueError(f"the edit has no {kind.name}; it has {', '.join(step.name for step in self.steps) or 'no operators'}")
        return found

    def each(self, change: Callable[[Operator], Operator]) -> "EditArrays":
        """The edit with `change` made to every step; itself where that changes none."""
        changed = tuple(map(change, self.steps))
        return self if all(new is old for new, old in zip(changed, self.steps, strict=True)) else EditArrays(changed)


def read_numbers(value: Any, name: str, limit: int = MAX_NUMBERS) -> list[float]:
    """A list of 1 to `limit` finite or infinite numbers from JSON. Raises ValueError naming `name`."""
    if not isinstance(value, list) or not 1 <= len(value) <= limit or not all(map(is_number, value)):
        raise ValueError(f"{name} must be a list of 1 to {limit} numbers")
    try:
        return [float(number) for number in value]
    except OverflowError:
        raise ValueError(f"{name} has a number that is too large") from None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
