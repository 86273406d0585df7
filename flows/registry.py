"""The registry of released harmonizers, in MLflow: numbered versions, of which one is the champion.

    python -m flows.registry list | champion | path N | promote N | rollback

A version keeps its model (a state dict and a config, and the file that runs without torch), the code that runs it, pinned requirements,
what it was made of (tags) and its card. Two aliases: `challenger` is the version that was registered last and is not the champion;
`champion` is the one in use. Moving the alias `champion` is one write: a reader sees the old champion or the new one. What it moved away
from is noted before with the version that it moves to, so that `rollback` needs no other memory.
"""

import argparse
import logging
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from attune.images import encode_png
from flows.console import console, faults_as_lines
from flows.tracking import SQLITE, open_store, store_name, store_uri, without_passwords

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MODEL = "attune"
CHAMPION, CHALLENGER = "champion", "challenger"
PREVIOUS = "previous_champion"  # tag: the champion that a version took over from; empty for the first
FOLDER = "artifacts/harmonizer"  # of a logged model: what `load_harmonizer` reads
# What the served model's code imports: pinned with each version as installed where it was registered.
REQUIREMENTS = ("jaxtyping", "mlflow", "numba", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Version:
    """One registered harmonizer."""

    number: int
    aliases: tuple[str, ...]
    created: datetime  # UTC
    run_id: str
    tags: Mapping[str, str]

    @property
    def is_champion(self) -> bool:
        """Whether it is the one in use."""
        return CHAMPION in self.aliases


# --- Reading ----------------------------------------------------------------------------------------------------------------------------


def fetch_model(reference: str) -> Path:
    """The local folder with `model.pt` and `config.json` of a registered version: an alias such as `champion`, or a number.

    Needs no server: a local store is read where it lies, a remote one's files are downloaded to a temporary folder.
    Raises ValueError naming what is missing: the store, the version, or its files.
    """
    return fetch_artifact(find_version(reference), f"model/{FOLDER}")


def fetch_artifact(version: Version, name: str) -> Path:
    """A local path of a file or folder that was kept with a version. ValueError if it is not there."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        uri = _client().get_run(version.run_id).info.artifact_uri
        path = Path(download_artifacts(artifact_uri=f"{uri}/{name}", tracking_uri=store_uri()))
    except (MlflowException, OSError) as error:
        said = without_passwords(str(error))
        raise ValueError(f"version {version.number} of {MODEL} in {store_name()}: its {name} cannot be read ({said})") from error
    if not path.exists():
        raise ValueError(f"version {version.number} of {MODEL} in {store_name()}: {path} is gone")
    return path


def find_version(reference: str) -> Version:
    """The version that an alias or a number names. ValueError names the aliases and numbers there are."""
    versions = list_versions()
    for version in versions:
        if reference == str(version.number) or reference in version.aliases:
            return version
    known = [*sorted({alias for version in versions for alias in version.aliases}), *(str(version.number) for version in versions)]
    raise ValueError(f"no version {reference!r} of {MODEL} in {store_name()}; there are: {', '.join(known) or 'none'}")


def find_champion() -> Version | None:
    """The champion; None where there is none yet, or no registry at all."""
    if _missing_file() is not None:
        return None
    return next((version for version in list_versions() if version.is_champion), None)


def need_champion() -> Version:
    """The champion. ValueError if there is none."""
    if (champion := find_champion()) is None:
        raise ValueError(f"no champion of {MODEL} in {store_name()} yet: `make retrain` trains and promotes one")
    return champion


def list_versions() -> list[Version]:
    """Every version, oldest first. ValueError if there is no registry."""
    client = _client()
    aliases: dict[str, list[str]] = {}
    models = client.search_registered_models(f"name = '{MODEL}'")
    for alias, number in (models[0].aliases if models else {}).items():
        aliases.setdefault(str(number), []).append(alias)
    found = [
        Version(
            int(entry.version), tuple(sorted(aliases.get(str(entry.version), ()))),
            datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC), str(entry.run_id), dict(entry.tags),
        )
        for entry in client.search_model_versions(f"name = '{MODEL}'")
    ]
    return sorted(found, key=lambda version: version.number)


def _client() -> "MlflowClient":
    if (path := _missing_file()) is not None:
        raise ValueError(
            f"no registry: {path} does not exist. Run from the project's root, where `make retrain` makes one, or set MLFLOW_TRACKING_URI"
        )
    return open_store()[0]


def _missing_file() -> Path | None:
    """The file of a local store that is not there: reading must not make one."""
    uri = store_uri()
    path = Path(uri.removeprefix(SQLITE))
    return path if uri.startswith(SQLITE) and not path.is_file() else None


# --- Writing ----------------------------------------------------------------------------------------------------------------------------


def register_model(folder: Path, run_id: str, *, card: str, tags: Mapping[str, str]) -> int:
    """Register the harmonizer of `folder` as a new version, the challenger, its files kept with the MLflow run `run_id`; its number.

    card: Markdown, becomes the version's description.
    """
    client, _ = open_store()
    log_model(folder, run_id)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL, description="Image harmonization: a composite and its mask in, a matching foreground out.")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    made = client.create_model_version(MODEL, source=source, run_id=run_id, tags=dict(tags), description=card)
    client.set_registered_model_alias(MODEL, CHALLENGER, made.version)
    return int(made.version)


def log_model(folder: Path, run_id: str) -> None:
    """Keep the harmonizer of `folder` with the MLflow run `run_id` as a model to be served: signature, example, code, requirements."""
    client, _ = open_store()
    with tempfile.TemporaryDirectory() as temporary:
        model, named = Path(temporary, "model"), Path(temporary, Path(FOLDER).name)  # MLflow keeps an artifact under its folder's name
        shutil.copytree(folder, named)
        _save_pyfunc(model, named)
        client.log_artifacts(run_id, str(model), "model")


def promote(number: int) -> int | None:
    """Make a version the champion; the number of the one before it, None if there was none. The champion itself stays as it is."""
    version, before = find_version(str(number)), find_champion()
    if version.is_champion:
        return before.number if before else None
    client = _client()
    client.set_model_version_tag(MODEL, str(number), PREVIOUS, str(before.number) if before else "")
    client.set_registered_model_alias(MODEL, CHAMPION, str(number))  # from here on it is
    if CHALLENGER in version.aliases:
        client.delete_registered_model_alias(MODEL, CHALLENGER)
    return before.number if before else None


def rollback() -> tuple[int, int]:
    """Give the title back to the version that the champion took it from; (the fallen one, the new champion).

    Raises ValueError if there is no champion, or none before it.
    """
    champion = need_champion()
    previous = champion.tags.get(PREVIOUS, "")
    if not previous:
        raise ValueError(f"version {champion.number} is the first champion: there is none before it to go back to")
    find_version(previous)
    client = _client()
    client.set_model_version_tag(MODEL, str(champion.number), "rolled_back", datetime.now(UTC).isoformat(timespec="seconds"))
    client.set_registered_model_alias(MODEL, CHAMPION, previous)
    return champion.number, int(previous)


def _save_pyfunc(path: Path, folder: Path) -> None:
    """Write the model in MLflow's layout: `served_model.py`, the packages it imports, the harmonizer's folder; nothing is pickled."""
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [ColSpec(DataType.binary, "composite"), ColSpec(DataType.binary, "mask"), ColSpec(DataType.binary, "plate", required=False)]
    root = Path(__file__).parents[1]
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        code = shutil.copytree(root / "attune", Path(temporary, "attune"), ignore=shutil.ignore_patterns("weights", "__pycache__"))
        warnings.filterwarnings("ignore", message="[\\s\\S]*Add type hints")  # the signature is given
        pyfunc.save_model(
            path, python_model=str(root / "flows/served_model.py"), artifacts={"harmonizer": str(folder.absolute())},
            code_paths=[str(code)],
            signature=ModelSignature(Schema(inputs), Schema([ColSpec(DataType.binary, "harmonized")])),
            input_example=pd.DataFrame([example_input()]), pip_requirements=pinned_requirements(),
        )


def example_input() -> dict[str, Any]:
    """A row as the served model takes it: a bluish square on a warm gradient, 48 x 64 px."""
    ramp = np.linspace(60, 200, 64)[None, :, None] * np.array([1.0, 0.9, 0.7])
    composite = np.broadcast_to(ramp, (48, 64, 3)).round().astype(np.uint8).copy()
    mask = np.zeros((48, 64), np.uint8)
    mask[12:36, 20:44] = 255
    composite[mask > 0] = (90, 110, 170)
    return {"composite": encode_png(composite), "mask": encode_png(mask)}


def pinned_requirements() -> list[str]:
    """`REQUIREMENTS` at the versions installed here."""
    return [f"{name}=={installed_version(name)}" for name in REQUIREMENTS]


# --- The command ------------------------------------------------------------------------------------------------------------------------


def print_versions(versions: Sequence[Version]) -> None:
    """Print the versions, newest first."""
    table = Table("version", "alias", "registered", "gate", "data", "commit", title=f"{MODEL} in {store_name()}", title_justify="left")
    for version in reversed(versions):
        when = version.created.strftime("%Y-%m-%d %H:%M")
        cells = (version.tags.get(name, "") for name in ("gate", "data_version", "git_commit"))
        verdict, data, commit = cells
        row = (str(version.number), ", ".join(version.aliases), when, verdict, data[:12], commit[:12])
        table.add_row(*row, style="bold" if version.is_champion else None)
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m flows.registry`."""
    parser = argparse.ArgumentParser(description="List the registered harmonizers, choose the champion.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every version, newest first")
    commands.add_parser("champion", help="who it is; exit code 1 if there is none")
    commands.add_parser("promote", help="make a version the champion").add_argument("version", type=int)
    commands.add_parser("path", help="the folder that holds a version's files").add_argument("version", help="an alias or a number")
    commands.add_parser("rollback", help="give the title back to the champion before this one")
    chosen = parser.parse_args(arguments)
    with faults_as_lines("registry"):
        if chosen.command == "list":
            print_versions(list_versions())
        elif chosen.command == "champion":
            console.print(f"version {need_champion().number} is the champion")
        elif chosen.command == "path":
            console.print(str(fetch_model(chosen.version)), soft_wrap=True)
        elif chosen.command == "promote":
            before = promote(chosen.version)
            refused = find_version(str(chosen.version)).tags.get("gate") == "refused"
            console.print(
                f"version {chosen.version} is the champion{f'; it was {before}' if before else ''}"
                f"{'; the gate had refused it, `make ui` shows why' if refused else ''}"
            )
        else:
            fallen, champion = rollback()
            console.print(f"version {champion} is the champion again, in place of {fallen}")


if __name__ == "__main__":
    main()
