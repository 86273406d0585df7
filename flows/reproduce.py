"""Repeat the making of a registered version: its code checked out, its data linked, every stage run anew, the outputs' hashes compared.

    make reproduce VERSION=3

All of it in a folder below `data/work` with a DVC cache and a tracking store of its own: nothing is taken from an earlier run, and nothing
of the project is touched.
"""

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from attune.files import clear_folder, read_json, write_bytes
from flows.console import console, faults_as_lines
from flows.processes import Leash, exit_on_sigterm, follow_parent
from flows.registry import fetch_artifact, fetch_model, find_version
from flows.workspace import RAW, locked_outputs, make_workspace
from tasks.params import load_params


def reproduce(reference: str, folder: Path) -> bool:
    """Make the version `reference` again in `folder`; whether every output, and the model, came out the same.

    Raises ValueError if the version, its commit, or a file that it was trained on is missing or has changed, naming it.
    """
    version = find_version(reference)
    commit = version.tags.get("git_commit", "")
    if not commit:
        raise ValueError(f"version {version.number} names no commit: it cannot be made again")
    data: Mapping[str, Mapping[str, str | None]] = read_json(fetch_artifact(version, "data.json"))
    kept = {name: str(file["text"]) for name, file in data.items() if file["text"] is not None}
    raw = load_params().paths.raw
    check_data({name: str(file["sha256"]) for name, file in data.items() if name not in kept}, raw)
    shutil.rmtree(folder, ignore_errors=True)
    make_workspace(folder, commit, raw=raw, names=[name for name in data if name not in kept], cache=None)
    for name, text in kept.items():
        write_bytes(folder / RAW / name, text.encode())
    run_pipeline_in(folder)
    expected = locked_outputs(fetch_artifact(version, "dvc.lock"))
    found = locked_outputs(folder / "dvc.lock")
    model = Path(fetch_model(reference))
    harmonizer = folder / load_params(folder / "params.yaml").paths.harmonizer
    expected["the model's file"], found["the model's file"] = (file_sha256(place / "model.pt") for place in (model, harmonizer))
    print_comparison(version.number, expected, found)
    return expected == found


def check_data(expected: Mapping[str, str], raw: Path) -> None:
    """Raise ValueError naming the first file below `raw` that is gone or is not what it was."""
    for name, digest in expected.items():
        if not (raw / name).is_file():
            raise ValueError(f"{raw / name}: this version was trained on it, and it is gone")
        if file_sha256(raw / name) != digest:
            raise ValueError(f"{raw / name}: this version was trained on another file of that name (SHA-256 {digest[:12]})")


def run_pipeline_in(folder: Path) -> None:
    """`python -m flows.pipeline` in `folder`, with a store of its own. Raises ValueError if it fails: it has said why."""
    own = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder.absolute() / 'mlflow.db'}"}
    with Leash() as leash:
        child = leash.start([sys.executable, "-m", "flows.pipeline"], cwd=folder, env={**os.environ, **own})
        if child.wait() != 0:
            raise ValueError(f"the pipeline failed in {folder}, see above")


def print_comparison(number: int, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Print each output's hash then and now."""
    table = Table("output", "then", "now", "", title=f"version {number}, made again", title_justify="left")
    for name in sorted({*expected, *found}):
        same = expected.get(name) == found.get(name)
        then, now = (hashes.get(name, "missing").split(".")[0][:16] for hashes in (expected, found))
        table.add_row(name, then, now, "equal" if same else "[red]differs[/red]")
    console.print(table)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """The command `python -m flows.reproduce`: exit code 0 if all is equal, 1 if not."""
    parser = argparse.ArgumentParser(description="Make a registered version again, and compare.")
    parser.add_argument("version", help="its number, or an alias such as champion")
    arguments = parser.parse_args()
    exit_on_sigterm()
    follow_parent("MAKELEVEL")
    with faults_as_lines("reproduce"):
        folder = load_params().paths.work / "reproduce"
        same = reproduce(arguments.version, folder)
        clear_folder(folder).rmdir()
        if not same:
            raise ValueError(f"version {arguments.version} came out differently, see above")
        console.print(f"reproduce: version {arguments.version} came out the same")


if __name__ == "__main__":
    main()
