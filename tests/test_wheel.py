"""The wheel as a stranger has it: in an environment of what it declares alone, outside the checkout, without torch, offline."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
from released_models import write_released_model

MAX_MEGABYTES = 450
MAX_WEIGHTS_MEGABYTES = 8
STRANGERS = {"numba"}  # imported where it is there


def requirements(name: str) -> set[str]:
    """The distributions that one needs without extras, for this interpreter."""
    from packaging.requirements import Requirement

    found = [Requirement(line) for line in metadata.requires(name) or []]
    return {need.name for need in found if need.marker is None or need.marker.evaluate({"extra": ""})}


def declared(repository: Path) -> set[str]:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return {re.split(r"[<>=\[ ]", line)[0] for line in project["dependencies"]}


def closure(names: set[str]) -> set[str]:
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            waiting += requirements(name)
    return found


def test_what_the_tool_imports_is_what_it_declares(repository: Path) -> None:
    owners = metadata.packages_distributions()
    roots = set[str]()
    for path in (repository / "attune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            roots |= {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
            roots |= {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
    roots -= sys.stdlib_module_names | {"attune"} | STRANGERS
    names = declared(repository)
    assert all({owner.lower() for owner in owners[root]} & names for root in roots), roots
    assert names <= {owner.lower() for root in roots for owner in owners[root]}, "declared, and imported nowhere"


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout, built by what is installed here."""
    folder = tmp_path_factory.mktemp("dist")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(repository)], check=True, capture_output=True)
    return next(folder.glob("attune-*.whl"))


@pytest.fixture(scope="module")
def site(repository: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds the wheel and what it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder)
    for name in closure(declared(repository)):
        for file in metadata.files(name) or []:
            if file.parts[0] != ".." and "__pycache__" not in file.parts:
                target, source = folder / file, Path(str(file.locate()))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source) if source.suffix != ".so" else os.link(source, target)  # a library looks beside its own place
    return folder


@pytest.mark.slow
class TestWheel:
    """`attune` in that environment."""

    def test_it_holds_the_tool_alone(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as opened:
            names = opened.namelist()
            sizes = {name: opened.getinfo(name).file_size for name in names}
        assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"attune"}
        assert "attune/py.typed" in names
        assert all(sizes[name] < MAX_WEIGHTS_MEGABYTES * 1e6 for name in names)

    def test_its_environment_is_small(self, site: Path) -> None:
        megabytes = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
        assert 50 < megabytes < MAX_MEGABYTES

    def test_a_picture_is_harmonized_without_torch_and_the_workshop(self, site: Path, tmp_path: Path) -> None:
        rng, mask = np.random.default_rng(0), np.zeros((90, 120), np.uint8)
        mask[20:60, 30:80] = 255
        cv2.imwrite(str(tmp_path / "picture.png"), cv2.resize(rng.integers(60, 190, (5, 6, 3)).astype(np.uint8), (120, 90)))
        cv2.imwrite(str(tmp_path / "mask.png"), mask)
        model = write_released_model(tmp_path / "model")
        code = (
            "import json, sys, attune.cli\n"
            "try: attune.cli.main(sys.argv[1:])\n"
            "except SystemExit as ended: code = ended.code\n"
            "banned = {'torch', 'prefect', 'dvc', 'mlflow', 'pyarrow', 'numba', 'flows', 'tasks', 'models'}\n"
            "print(json.dumps([code or 0, sorted(banned & set(sys.modules)), attune.__file__]))"
        )
        environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        named = ["--model", str(model)]
        embedded = [] if (site / "attune/weights/default.json").is_file() else named
        for options in (named, embedded):
            command = [sys.executable, "-S", "-c", code, "harmonize", "picture.png", "mask.png", "-o", "out.png", *options]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
            status, loaded, file = json.loads(done.stdout.splitlines()[-1])
            assert (status, loaded) == (0, []), done.stderr
            assert Path(file).is_relative_to(site)
        before, after = (cv2.imread(str(tmp_path / name)) for name in ("picture.png", "out.png"))
        assert np.array_equal(before[mask == 0], after[mask == 0])
