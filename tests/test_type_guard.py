"""The guard of types is on: a planted wrong shape is caught, and what it leaves out is listed by name."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
import type_guard
from jaxtyping import AbstractArray, TypeCheckError

from models.curves import apply_curves

UNCHECKED: set[str] = set()  # functions of those packages that cannot be wrapped: kernels that numba compiles, coroutines
LEAST_SHAPES = 140  # annotations in signatures and dataclasses


def test_a_wrong_shape_is_caught() -> None:
    image, curves = torch.rand(1, 3, 4, 4), torch.linspace(0, 1, 5).expand(1, 3, 5)
    apply_curves(image, curves)
    with pytest.raises(TypeCheckError):
        apply_curves(image[:, :2], curves)
    with pytest.raises(TypeCheckError):
        apply_curves(image, curves.expand(2, 3, 5))
    with type_guard.lifted():
        assert apply_curves(image[:, :3], curves).shape == image.shape


@pytest.fixture(scope="module")
def checked(repository: Path) -> list[ModuleType]:
    """All modules that the guard is put up for."""
    names = []
    for package in type_guard.CHECKED:
        for path in sorted((repository / package).rglob("*.py")):
            names.append(".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__"))
    return [importlib.import_module(name) for name in names]


def test_every_function_and_shape_is_checked_but_kernels(checked: list[ModuleType]) -> None:
    functions = {f"{function.__module__}.{function.__qualname__}": function for module in checked for function in functions_of(module)}
    bare = {name for name, function in functions.items() if not is_checked(function)}
    assert bare == UNCHECKED, "what is not checked is named above"
    assert len(UNCHECKED) == 0
    assert len(functions) > 100
    shapes = [hint for function in functions.values() for hint in shapes_in(function)]
    assert len(shapes) >= LEAST_SHAPES


def functions_of(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Functions and methods that are written in the module, and what dataclasses make of their fields."""
    for owner in (module, *(each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__)):
        for name, found in vars(owner).items():
            function = getattr(found, "__func__", getattr(found, "fget", found))
            is_made = name.startswith("__") and not (name == "__init__" and is_dataclass(owner))
            is_ours = inspect.isroutine(function) and getattr(function, "__module__", "") == module.__name__
            if is_ours and (not is_made or is_written(function)):
                yield function


def is_written(function: Callable[..., Any]) -> bool:
    """Whether a file has the function, and no decorator made it up."""
    return Path(inspect.unwrap(function).__code__.co_filename).suffix == ".py" and "jaxtyping" in outer_file(function)


def is_checked(function: Callable[..., Any]) -> bool:
    """Whether jaxtyping stands between the caller and the function."""
    while "jaxtyping" not in outer_file(function):
        if not hasattr(function, "__wrapped__"):
            return False
        function = function.__wrapped__
    return True


def outer_file(function: Callable[..., Any]) -> str:
    return function.__code__.co_filename if hasattr(function, "__code__") else ""


def shapes_in(function: Callable[..., Any]) -> Iterator[Any]:
    """The shapes that a signature names, in containers and unions too."""
    waiting = list(getattr(inspect.unwrap(function), "__annotations__", {}).values())
    while waiting:
        hint = waiting.pop()
        if inspect.isclass(hint) and issubclass(hint, AbstractArray):
            yield hint
        waiting += get_args(hint)
