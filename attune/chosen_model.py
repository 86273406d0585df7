"""Which trained harmonizer the command line uses: a folder, a registered version, or by default the one that `make pipeline` trained."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.harmonize import TorchPredictor

PROJECT = Path(__file__).resolve().parents[1]
PARAMS, MODEL_FILE, CONFIG_FILE = "params.yaml", "model.pt", "config.json"


def find_model(reference: str | None) -> Path:
    """The folder with `model.pt` and `config.json` that `reference` names.

    None: the one that the main command trains, in the project around the current folder, or in the one that this program belongs to. A path
    (with a slash, or of something that exists): that folder, or that `model.pt`'s. Anything else: an alias or a number of the registry.
    Raises ValueError saying what is missing and what to do.
    """
    if reference is None:
        return _trained_model()
    path = Path(reference).expanduser()
    if "/" not in reference and not path.exists():
        from flows.registry import fetch_model

        return fetch_model(reference)
    folder = path.parent if path.name in (MODEL_FILE, CONFIG_FILE) else path
    if not (folder / CONFIG_FILE).is_file() or not (folder / MODEL_FILE).is_file():
        raise ValueError(f"--model {reference}: no {MODEL_FILE} with {CONFIG_FILE} there")
    return folder


@cache
def load_model(folder: Path) -> "TorchPredictor":
    """The harmonizer of a folder, loaded once."""
    from tasks.harmonize import TorchPredictor
    from tasks.harmonizer_files import load_harmonizer

    return TorchPredictor(load_harmonizer(folder)[0])


def _trained_model() -> Path:
    here = Path.cwd()
    roots = [folder for folder in (here, *here.parents) if _is_project(folder)][:1] or [PROJECT]
    folder = roots[0] / _harmonizer_path(roots[0])
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(
            f"no trained model yet ({folder} is empty): `make pipeline` in {roots[0]} trains one in minutes; or name one with --model"
        )
    return folder


def _is_project(folder: Path) -> bool:
    return (folder / PARAMS).is_file() and (folder / "dvc.yaml").is_file()


def _harmonizer_path(root: Path) -> Path:
    """`paths.harmonizer` of the project's params: the one home of that value."""
    import yaml

    path = root / PARAMS
    try:
        return Path(yaml.safe_load(path.read_text())["paths"]["harmonizer"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: paths.harmonizer cannot be read ({type(error).__name__})") from error
