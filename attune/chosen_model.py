"""Which released model is used: one that is named (a folder, a file, an alias of the workshop's registry), else the one in the package."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from attune.model_files import find_model_json

PACKAGE = Path(__file__).resolve().parent
EMBEDDED = PACKAGE / "weights" / "default.json"
REGISTRY = Path("flows", "registry.py")  # in a checkout of the workshop


@dataclass(frozen=True)
class ChosenModel:
    """A released model, and why it is this one."""

    path: Path  # of its JSON
    origin: str


def choose_model(reference: str | None) -> ChosenModel:
    """The model that `reference` names.

    None: the one inside the package. A path (with a slash, or of something that exists): that folder or file. Anything else: an alias or a
    number of the registry, where this is run from a checkout of the workshop.
    Raises ValueError saying what is missing and what to do.
    """
    if reference is None:
        if not EMBEDDED.is_file():
            raise ValueError("this installation holds no model (the package was built without weights): name one with --model")
        return ChosenModel(EMBEDDED, "embedded in the package")
    path = Path(reference).expanduser()
    if "/" in reference or path.exists():
        try:
            return ChosenModel(find_model_json(path), "named by --model")
        except ValueError as error:
            raise ValueError(f"--model {reference}: {error}") from error
    return ChosenModel(find_model_json(_registered(reference)), f"version {reference!r} of the registry")


def ask_registry(*arguments: str) -> str:
    """The last line that the workshop's registry answers, in a process of its own: this package imports nothing of the workshop.

    Raises ValueError with the registry's own words, or if there is no workshop around the current folder or this package.
    """
    roots = [folder for folder in (Path.cwd(), *Path.cwd().parents, PACKAGE.parent) if (folder / REGISTRY).is_file()]
    if not roots:
        raise ValueError("aliases and numbers are of the workshop's registry, and there is no checkout of it here")
    paths = os.pathsep.join([str(roots[0]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "flows.registry", *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout if done.returncode == 0 else done.stderr or done.stdout).splitlines() if line.strip()]
    if done.returncode != 0 or not said:
        raise ValueError(said[-1].removeprefix("registry: ") if said else "the registry gave no answer")
    return said[-1]


def _registered(reference: str) -> Path:
    try:
        return Path(ask_registry("path", reference))
    except ValueError as error:
        raise ValueError(f"--model {reference}: no such file or folder; {error}") from error
