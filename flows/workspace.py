"""A folder of its own for a run of the pipeline: the code as it stands, data by links, and nothing of the project touched.

The code is a commit. Where files were changed since the last one, a commit is made of them that no branch names (`refs/attune/<commit>`
keeps it), so that what a model was made of can be checked out again. DVC's cache is shared with the project unless told otherwise: stages
that ran before, here or there, are restored and not run again.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from attune.files import clear_folder, write_bytes
from tasks.retraining.batches import link_files

RAW = Path("data/raw")  # paths.raw of every workspace: results do not depend on where your photographs lie
CODE = ("attune", "flows", "models", "tasks", "profiles", "dvc.yaml", "dvc.lock", "params.yaml", "pyproject.toml",
        "constraints.txt", ".dvcignore")
LISTS = (".csv", ".txt", ".json", ".md")  # small files that change as data come in: kept with a version, not only hashed
MAX_LIST_BYTES = 4 << 20
IDENTITY = {f"GIT_{who}_NAME": "attune" for who in ("AUTHOR", "COMMITTER")} | {
    f"GIT_{who}_EMAIL": "attune@localhost" for who in ("AUTHOR", "COMMITTER")
}


@dataclass(frozen=True)
class DataFile:
    """A file below `paths.raw` as a model saw it; `text` is the content of a small list."""

    sha256: str
    text: str | None = None


# --- Code -------------------------------------------------------------------------------------------------------------------------------


def snapshot_commit() -> str:
    """A commit of the project's files as they stand: HEAD where nothing has changed, else one that no branch names.

    Neither the index nor the working tree is touched. Raises ValueError where the current folder is no git repository.
    """
    if not Path(".git").exists():
        raise ValueError(f"{Path.cwd()} is not the root of a git repository: a release must be traceable to a commit; run `git init`")
    head = _git("rev-parse", "--verify", "--quiet", "HEAD", missing="")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = {"GIT_INDEX_FILE": str(Path(temporary, "index"))}
        _git("read-tree", head or "--empty", **scratch)
        _git("add", "--update", **scratch)
        _git("add", "--", *(name for name in CODE if Path(name).exists()), **scratch)
        tree = _git("write-tree", **scratch)
    if head and tree == _git("rev-parse", f"{head}^{{tree}}"):
        return head
    commit = _git("commit-tree", tree, *(["-p", head] if head else []), "-m", "Files as they stood when a model was trained", **IDENTITY)
    _git("update-ref", f"refs/attune/{commit}", commit)
    return commit


def check_out(commit: str, folder: Path) -> None:
    """Write the files of a commit into `folder`, which is made. ValueError if there is no such commit."""
    done = subprocess.run(["git", "archive", commit], capture_output=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"commit {commit} cannot be checked out: {done.stderr.decode(errors='replace').strip()}")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        archive.extractall(folder)


def _git(*command: str, missing: str | None = None, **environment: str) -> str:
    done = subprocess.run(["git", *command], capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode != 0:
        if missing is not None:
            return missing
        raise ValueError(f"git {command[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


# --- A workspace ------------------------------------------------------------------------------------------------------------------------


def make_workspace(folder: Path, commit: str, *, raw: Path, names: list[str], cache: Path | None) -> None:
    """Check `commit` out into `folder`, anew, with the files `names` of `raw` linked to its `data/raw`, and DVC set up.

    What a run that was cut off left below `data/work` is kept: training goes on from there. cache: DVC's, of another repository; None is
    one of its own, in which nothing is known yet.
    """
    work = folder / "data/work"
    kept = folder.with_name(f"{folder.name}-work")
    if work.is_dir() and not kept.exists():
        work.rename(kept)
    clear_folder(folder)
    check_out(commit, folder)
    if kept.is_dir():
        work.parent.mkdir(parents=True, exist_ok=True)
        kept.rename(work)
    shutil.rmtree(folder / RAW, ignore_errors=True)
    (folder / RAW).mkdir(parents=True)
    link_files(names, raw, folder / RAW)
    _point_at_own_data(folder / "params.yaml")
    settings = "[core]\n    no_scm = true\n    analytics = false\n"
    settings += f"[cache]\n    dir = {cache.absolute()}\n" if cache else ""
    write_bytes(folder / ".dvc/config.local", settings.encode())
    (folder / ".dvc/config").touch()


def _point_at_own_data(path: Path) -> None:
    """Set paths.raw to the workspace's own folder; not a byte is changed where it is that already."""
    editor = YAML()
    editor.width, editor.preserve_quotes = 4096, True
    values = editor.load(path.read_text())
    if values["paths"]["raw"] != RAW.as_posix():
        values["paths"]["raw"] = RAW.as_posix()
        with open(path, "w") as handle:
            editor.dump(values, handle)


@contextmanager
def inside(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Be in `folder` with these environment variables, for the length of the block."""
    here = Path.cwd()
    before = {name: os.environ.get(name) for name in environment}
    os.chdir(folder)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.chdir(here)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- What a run was made of, and what it made -------------------------------------------------------------------------------------------


def list_data(raw: Path) -> dict[str, DataFile]:
    """Every file below `raw` by its relative name; hidden ones are passed over."""
    return {name: _data_file(raw / name) for name in file_names(raw)}


def _data_file(path: Path) -> DataFile:
    data = path.read_bytes()
    text = data.decode(errors="replace") if path.suffix in LISTS and len(data) <= MAX_LIST_BYTES else None
    return DataFile(hashlib.sha256(data).hexdigest(), text)


def file_names(raw: Path) -> list[str]:
    """The names of `list_data`, without opening anything."""
    found = (path.relative_to(raw) for path in sorted(raw.rglob("*")) if path.is_file())
    return [name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts)]


def locked_outputs(lock: Path) -> dict[str, str]:
    """Path -> DVC's hash of every output, as `dvc.lock` has it; empty where there is none."""
    return {out["path"]: out["md5"] for stage in _locked_stages(lock) for out in stage.get("outs", []) if "md5" in out}


def _locked_stages(lock: Path) -> list[Mapping[str, Any]]:
    return list((yaml.safe_load(lock.read_text()) or {}).get("stages", {}).values()) if lock.is_file() else []
