"""The house's own laws: layers, homes of tools, names, no effects on import. Each guard is shown to be able to fail."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import ENVIRONMENT

PACKAGES = ("attune", "flows", "tasks", "models")
BANNED = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
MAX_FUNCTION_LINES = 60
LIBRARIES = ("LD_LIBRARY_PATH", "KMP_", "TORCH", "PYTORCH", "CUDA", "QT_")  # variables that OpenCV and torch set for themselves
TORCH_ONLY = {"torch", "jaxtyping", "models"}
SHARED_FACT = "attune.foreground"  # the one file of the tool that models/ may import: nothing but a number


def modules(repository: Path, *packages: str) -> Iterator[Path]:
    for package in packages or PACKAGES:
        yield from sorted((repository / package).rglob("*.py"))


def imported_roots(path: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; absolute imports by module"
            roots.add(str(node.module).split(".")[0])
    return roots


def imported_from(path: Path, package: str) -> set[str]:
    """The modules of `package` that a file imports names from, or the package itself where it is imported in another way."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [str(node.module) if isinstance(node, ast.ImportFrom) else alias.name for node in found for alias in node.names]
    return {module for module in modules if module.split(".")[0] == package}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_the_one_of_this_repository(repository: Path, package: str) -> None:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).is_relative_to(repository), f"`{package}` is another project's: {found.origin}"


def test_models_import_torch_and_nothing_else(repository: Path) -> None:
    for path in modules(repository, "models"):
        foreign = imported_roots(path) - TORCH_ONLY - sys.stdlib_module_names
        foreign -= {"attune"} if imported_from(path, "attune") == {SHARED_FACT} else set()
        assert not foreign, f"{path.name} imports {foreign}"


def test_no_file_has_a_name_that_says_nothing(repository: Path) -> None:
    assert not [path for path in modules(repository) if path.stem in BANNED]


def test_no_function_is_longer_than_a_screen(repository: Path) -> None:
    for path in modules(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} has {length} lines"


def test_packages_hold_a_docstring_and_no_code(repository: Path) -> None:
    for path in modules(repository, "tasks", "models"):
        if path.name == "__init__.py":
            assert all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body), f"{path} is no place for code"


def test_no_python_lives_among_the_data(repository: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "data"], cwd=repository, capture_output=True, text=True, check=False).stdout
    assert ".py" not in listed


def test_nothing_unpickles_what_a_user_could_supply(repository: Path) -> None:
    for path in modules(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                safe = {"weights_only": True, "allow_pickle": False}
                found = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg in safe}
                needed = "weights_only" if ast.unparse(node.func) == "torch.load" else "allow_pickle"
                assert found.get(needed) == safe[needed], f"{path.name}:{node.lineno}: {needed}={safe[needed]} is missing"
        assert not imported_roots(path) & {"pickle", "joblib", "cloudpickle", "dill"}, path


# --- In fresh interpreters --------------------------------------------------------------------------------------------------------------

PROBE = """
import importlib, json, os, sys, threading
before, threads = dict(os.environ), threading.active_count()
for name in sys.argv[1:]:
    importlib.import_module(name)
changed = {key: value for key, value in os.environ.items() if before.get(key) != value}
torch = sys.modules.get("torch")
print(json.dumps({"changed": changed, "cuda": bool(torch and torch.cuda.is_initialized()), "mlflow": "mlflow" in sys.modules}))
"""


RUN_BY_MLFLOW = "flows.served_model"  # a text that MLflow keeps and runs, imported by nothing


@pytest.mark.slow
def test_importing_every_module_has_no_effect(repository: Path, tmp_path: Path) -> None:
    names = [".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__") for path in modules(repository)]
    names.remove(RUN_BY_MLFLOW)
    environment = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    environment |= {"PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / ".p")}
    run = subprocess.run([sys.executable, "-c", PROBE, *names], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    ours = {key: value for key, value in found["changed"].items() if not key.startswith(LIBRARIES)}
    assert ours == ENVIRONMENT, "an import changed the environment"
    assert not found["cuda"], "an import touched a device"
    assert not found["mlflow"], "mlflow is imported where a run begins, not before: it costs two seconds"
    assert [path.name for path in tmp_path.iterdir() if path.name not in (".p", ".cache", ".config", ".triton")] == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def house(repository: Path, tmp_path: Path) -> Path:
    """A copy of the packages, to break."""
    for package in PACKAGES:
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold(house: Path) -> None:
    run = lint_imports(house)
    assert run.returncode == 0, run.stdout


def test_the_import_contracts_can_fail(house: Path) -> None:
    breaches = {
        "models/curves.py": "import tasks.seeds",  # up
        "models/lut.py": "import attune.files",  # the tool in the maths
        "tasks/seeds.py": "import mlflow",  # a tool away from the edge
        "flows/console.py": "import dvc",  # a tool away from its home
        "tasks/train.py": "import tasks.mine",  # a stage in a stage
        "tasks/sources/photos.py": "import tasks.sources.retouch",  # a source in a source
        "attune/operators/curves.py": "import attune.operators.shading",  # an operator in an operator
        "attune/files.py": "import tasks.seeds\nimport torch",  # the workshop, or its libraries, in the tool
        "tasks/evaluation/report_page/charts.py": "import tasks.evaluation.report_page.page",  # a part of the page in what is above it
    }
    for name, line in breaches.items():
        with open(house / name, "a") as handle:
            handle.write(f"\n{line}\n")
    rooms = [path.parent.relative_to(house).as_posix() for path in house.glob("tasks/*/__init__.py") if path.parent.name != "sources"]
    for package in ("attune", "flows", "models", *rooms):
        (house / package / "extra.py").write_text('"""A file that nobody gave a layer."""\n')
    run = lint_imports(house)
    assert run.returncode == 1
    assert "Contracts: 0 kept" in run.stdout, "a contract cannot fail"
    breached = ("models.curves", "tasks.seeds", "flows.console", "tasks.train", "tasks.sources.photos", "attune.files")
    for said in (*breached, "attune.extra", "flows.extra", "models.extra", *(f"{room.replace('/', '.')}.extra" for room in rooms)):
        assert said in run.stdout, f"the breach in {said} went unseen"
