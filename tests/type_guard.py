"""The annotations of the project, checked whenever a test calls what they stand on.

Every function and dataclass of the packages in `CHECKED` is wrapped as it is imported: shapes and element types by jaxtyping, the rest by
beartype. It is jaxtyping's own import hook, but for `UNCHECKED`, which that hook cannot leave out by name.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from inspect import isclass, isfunction
from types import CodeType, ModuleType
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, config, jaxtyped

CHECKED = ("attune", "models", "tasks")
UNCHECKED: dict[str, tuple[str, ...]] = {
    "numba compiles them, and takes plain functions alone": (
        "attune.render_kernel._blend", "attune.render_kernel._brighten_or_darken", "attune.render_kernel._cubic",
        "attune.render_kernel._darken", "attune.render_kernel._is_empty", "attune.render_kernel._look_up", "attune.render_kernel._mix",
        "attune.render_kernel._power_series", "attune.render_kernel._row_gains", "attune.render_kernel._tanh",
        "attune.render_kernel.render_rows",
        "tasks.color.error_kernel._count", "tasks.color.error_kernel._sum", "tasks.color.error_kernel._two_sums",
        "tasks.color.error_kernel._widen", "tasks.color.error_kernel.softly_weighed_error", "tasks.color.error_kernel.squared_error_sums",
        "tasks.evaluation.ssim_kernel._along_x", "tasks.evaluation.ssim_kernel._along_y", "tasks.evaluation.ssim_kernel._far",
        "tasks.evaluation.ssim_kernel._near", "tasks.evaluation.ssim_kernel._quantities", "tasks.evaluation.ssim_kernel._similarity",
        "tasks.evaluation.ssim_kernel._sums", "tasks.evaluation.ssim_kernel._total",
        "tasks.framing._resample", "tasks.lut_kernel._interpolate", "tasks.tones._apply",
        "tasks.ingestion.duplicates._count_bits", "tasks.ingestion.duplicates._join", "tasks.ingestion.duplicates._join_equal",
        "tasks.ingestion.duplicates._join_near", "tasks.ingestion.duplicates._root", "tasks.ingestion.duplicates._roots",
    ),
    "coroutines, whose result jaxtyping would check before it is awaited": (
        "tasks.poll.page_server.create_app.<locals>.add_headers", "tasks.poll.page_server.create_app.<locals>.say_fault",
        "tasks.poll.page_server.create_app.<locals>.vote", "tasks.poll.page_server.read_body",
    ),
    "they name what is imported for mypy alone, so that a start stays quick: nothing at run time has that name": (
        "attune.cli._drawn_curves", "attune.cli._harmonize_folder", "attune.cli._harmonize_folder.<locals>.done",
        "attune.cli._harmonize_one", "attune.cli._with_model",
        "attune.prediction._session",
        "tasks.ingestion.plots._draw_bars", "tasks.ingestion.plots._draw_histogram", "tasks.ingestion.plots._draw_labels",
        "tasks.ingestion.plots._draw_methods", "tasks.ingestion.plots._draw_rejects", "tasks.ingestion.plots._draw_span",
        "tasks.ingestion.plots._draw_splits", "tasks.ingestion.plots._draw_strength", "tasks.ingestion.plots._finish",
        "tasks.ingestion.plots._from_above", "tasks.ingestion.plots._log_of_fmse", "tasks.ingestion.plots._say",
        "tasks.ingestion.plots.draw_page", "tasks.params.TrainModel.config",
    ),
    "inner functions of small pictures that are called thousands of times, and whose callers are checked": (
        "attune.images._decoded", "attune.images._decoded_jpeg", "attune.images._encoded", "attune.images._to_array",
        "attune.images._upright",
        "tasks.color.transfer._affine", "tasks.evaluation.appearance_probe._pixels", "tasks.evaluation.appearance_probe._statistics",
        "tasks.loader._stream", "tasks.mining.compositing._blur", "tasks.mining.compositing._pad", "tasks.mining.pairing._sides",
        "tasks.mining.placement._settle", "tasks.sheets._Pen._fitted",
    ),
}
TOWER = BeartypeConf(is_pep484_tower=True)  # an int is a float, as it is for mypy
DECORATOR = "checked_by_tests"  # what modules call `checked`
LEFT_OUT = {name for names in UNCHECKED.values() for name in names}


def checked(made: Any) -> Any:
    """A function, or a dataclass's making, that raises where a value is not as annotated."""
    if not isclass(made):
        return _with_shapes(made) if any(shapes_of(made)) else _with_types(made)
    if is_dataclass(made) and isfunction(vars(made).get("__init__")):
        made.__init__ = checked(made.__init__)  # type: ignore[misc]
    return made


def _with_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    return jaxtyped(function, typechecker=beartype(conf=TOWER))


def _with_types(function: Callable[..., Any]) -> Callable[..., Any]:
    """No shape is named: a twentieth of the time of jaxtyping's check."""
    strict = beartype(conf=TOWER)(function)

    @wraps(function)
    def typed(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return (function if config.jaxtyping_disable else strict)(*args, **kwargs)

    return typed


def shapes_of(function: Callable[..., Any]) -> Iterator[Any]:
    """The shapes that a signature names, in containers and unions too."""
    waiting = list(getattr(function, "__annotations__", {}).values())
    while waiting:
        hint = waiting.pop()
        if isclass(hint) and issubclass(hint, AbstractArray):
            yield hint
        waiting += get_args(hint)


def install() -> None:
    """Check whatever of the project is imported from here on."""
    sys.meta_path.insert(0, _Finder)


@contextmanager
def lifted() -> Iterator[None]:
    """Nothing is checked while this is open."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


class _Finder(PathFinder):
    @classmethod
    def find_spec(cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in CHECKED:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def path_stats(self, path: str) -> Any:
        raise OSError("no bytecode is kept, which a run without checks could meet")

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        tree = _Wrapping(self.name).visit(ast.parse(data, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True, optimize=_optimize)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[DECORATOR] = checked
        super().exec_module(module)


class _Wrapping(ast.NodeTransformer):
    """Puts the check beneath all other decorators of a function, and over those of a class."""

    def __init__(self, module: str) -> None:
        self.within = module

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, _decorator(node))
        return self._visited(node, node.name)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if f"{self.within}.{node.name}" not in LEFT_OUT:
            node.decorator_list.append(_decorator(node))
        return self._visited(node, f"{node.name}.<locals>")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visited(node, f"{node.name}.<locals>")

    def _visited(self, node: ast.AST, name: str) -> ast.AST:
        outside, self.within = self.within, f"{self.within}.{name}"
        self.generic_visit(node)
        self.within = outside
        return node


def _decorator(node: ast.AST) -> ast.expr:
    return ast.copy_location(ast.Name(DECORATOR, ast.Load()), node)
