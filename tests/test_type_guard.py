"""The guard of types is on: a planted wrong shape is caught, and what it leaves out is listed by name."""

import ast
import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import type_guard
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from attune.edits import adjust_edit
from attune.operators.curves import Curves, curve_tables
from attune.operators.operator import EditArrays
from models.curves import apply_curves
from tasks.color.difference import foreground_mse
from tasks.sample import Pair
from tasks.seeds import derive_seed

KERNELS, COROUTINES, FOR_MYPY, FREQUENT = type_guard.UNCHECKED.values()
FUNCTIONS = {"attune": 270, "models": 180, "tasks": 1300}  # at least: of modules, classes and dataclasses
SHAPES = {"attune": 100, "models": 240, "tasks": 750}  # at least: in the signatures of those

Functions = dict[str, Callable[..., Any]]


def wrong_in_models() -> None:
    apply_curves(torch.rand(1, 2, 4, 4), torch.linspace(0, 1, 5).expand(1, 3, 5))


def wrong_between_arguments() -> None:
    apply_curves(torch.rand(1, 3, 4, 4), torch.linspace(0, 1, 5).expand(2, 3, 5))


def wrong_in_attune() -> None:
    curve_tables(np.linspace(0, 1, 5)[None], 256)


def wrong_depth_in_attune() -> None:
    Curves(np.zeros((3, 5), np.int64))


def wrong_in_tasks() -> None:
    foreground_mse(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))


def wrong_in_a_dataclass_of_tasks() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    Pair("a", "original", "photos", "a", composite=image, mask=np.zeros((4, 5, 1), np.uint8), target=image)


@pytest.mark.parametrize("wrong", [
    wrong_in_models, wrong_between_arguments, wrong_in_attune, wrong_depth_in_attune, wrong_in_tasks, wrong_in_a_dataclass_of_tasks,
])
def test_a_wrong_shape_is_caught(wrong: Callable[[], None]) -> None:
    with pytest.raises(TypeCheckError):
        wrong()


def test_a_wrong_type_is_caught_where_no_shape_is_named() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        derive_seed("seven", "a name")  # type: ignore[arg-type]
    with pytest.raises(BeartypeCallHintViolation):
        adjust_edit(EditArrays(()), "half")  # type: ignore[arg-type]


def test_right_shapes_pass_and_lifted_the_guard_lets_all_pass() -> None:
    image, curves = torch.rand(1, 3, 4, 4), torch.linspace(0, 1, 5).expand(1, 3, 5)
    apply_curves(image, curves)
    with type_guard.lifted():
        assert apply_curves(image[:, :3], curves.double()).shape == image.shape
        assert curve_tables(np.linspace(0, 1, 5)[None], 256).shape == (1, 256)


@pytest.fixture(scope="module")
def modules(repository: Path) -> list[ModuleType]:
    """All modules that the guard is put up for."""
    names = []
    for package in type_guard.CHECKED:
        for path in sorted((repository / package).rglob("*.py")):
            names.append(".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__"))
    return [importlib.import_module(name) for name in names]


@pytest.fixture(scope="module")
def functions(modules: list[ModuleType]) -> Functions:
    """Whatever of these modules has a signature, by name."""
    return {f"{function.__module__}.{function.__qualname__}": function for module in modules for function in functions_of(module)}


def test_every_function_is_checked_but_those_named(functions: Functions) -> None:
    bare = {name for name, function in functions.items() if not is_checked(function)}
    assert bare == {name for name in type_guard.LEFT_OUT if "<locals>" not in name}
    found = Counter(name.partition(".")[0] for name in functions if name not in type_guard.LEFT_OUT)
    assert not {package: found[package] for package, least in FUNCTIONS.items() if found[package] < least}


def test_every_shape_is_checked(functions: Functions) -> None:
    found = Counter(dict.fromkeys(type_guard.CHECKED, 0))
    for name, function in functions.items():
        found[name.partition(".")[0]] += len(list(type_guard.shapes_of(inspect.unwrap(function))))
    assert not {package: found[package] for package, least in SHAPES.items() if found[package] < least}


def test_what_is_left_out_is_what_cannot_be_checked(modules: list[ModuleType], functions: Functions) -> None:
    nodes = {}
    for module in modules:
        nodes |= dict(nodes_of(ast.parse(Path(str(module.__file__)).read_text()), module.__name__))
    assert set(KERNELS) == {name for name, node in nodes.items() if "jit" in " ".join(map(ast.unparse, node.decorator_list))}
    assert set(COROUTINES) == {name for name, node in nodes.items() if isinstance(node, ast.AsyncFunctionDef)}
    assert set(FOR_MYPY) & set(functions) == {name for name, function in functions.items() if names_nothing(function)}
    assert set(FOR_MYPY) <= set(nodes)
    assert (len(KERNELS), len(COROUTINES), len(FOR_MYPY), len(FREQUENT)) == (34, 4, 20, 14)


def nodes_of(tree: ast.AST, within: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The functions of a module, those inside of others too, by the names that they call themselves."""
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function:
            yield f"{within}.{node.name}", node
        inner = f"{within}.{node.name}.<locals>" if is_function else f"{within}.{node.name}" if isinstance(node, ast.ClassDef) else within
        yield from nodes_of(node, inner)


def names_nothing(function: Callable[..., Any]) -> bool:
    """Whether a signature has a name that is not there when the program runs."""
    try:
        get_type_hints(inspect.unwrap(function))
    except NameError:
        return True
    return False


def functions_of(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Functions and methods that are written in the module, and what makes its dataclasses."""
    for owner in (module, *(each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__)):
        for name, found in vars(owner).items():
            function = getattr(found, "__func__", getattr(found, "fget", found))
            if inspect.isroutine(function) and getattr(function, "__module__", "") == module.__name__:
                is_made = name == "__init__" and is_dataclass(owner)
                if is_made or getattr(inspect.unwrap(function), "__code__", module).co_filename == module.__file__:
                    yield function


def is_checked(function: Callable[..., Any]) -> bool:
    """Whether the guard stands between the caller and the function."""
    while not {"jaxtyping", "type_guard.py"} & set(Path(outer_file(function)).parts):
        if not hasattr(function, "__wrapped__"):
            return False
        function = function.__wrapped__
    return True


def outer_file(function: Callable[..., Any]) -> str:
    return function.__code__.co_filename if hasattr(function, "__code__") else ""
