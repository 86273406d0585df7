"""Workspaces: the code of a commit, data by links, nothing of the project touched; and the same again for a version of long ago."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.reproduce import check_data
from flows.workspace import check_out, file_names, inside, list_data, locked_outputs, make_workspace, snapshot_commit


def git(*command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *command], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repo(project: Path) -> Path:
    """A committed project of three files."""
    for name, text in {
        "tasks/train.py": "one\n", "params.yaml": "seed: 1  # of all\npaths:\n  raw: /elsewhere\n", ".gitignore": "data/*\n",
        "data/raw/photos/a.jpg": "a", "data/raw/photos/manifest.csv": "image,mask\n",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "Begin")
    return project


# --- Code -------------------------------------------------------------------------------------------------------------------------------


def test_unchanged_files_are_the_last_commit(repo: Path) -> None:
    assert snapshot_commit() == git("rev-parse", "HEAD")


def test_changed_and_new_code_is_a_commit_that_no_branch_names(repo: Path) -> None:
    head, status = git("rev-parse", "HEAD"), None
    (repo / "tasks/train.py").write_text("two\n")
    (repo / "tasks/new.py").write_text("new\n")
    (repo / "scratch.txt").write_text("mine alone\n")
    status = git("status", "--porcelain")
    commit = snapshot_commit()
    assert commit != head
    assert git("rev-parse", f"{commit}^") == head
    assert set(git("diff", "--name-only", head, commit).split()) == {"tasks/new.py", "tasks/train.py"}
    assert git("branch", "--contains", commit) == ""
    assert (git("rev-parse", "HEAD"), git("status", "--porcelain")) == (head, status), "index and tree are as they were"
    git("gc", "--prune=now", "--quiet")
    assert git("cat-file", "-t", commit) == "commit"


def test_a_snapshot_needs_no_commit_but_a_repository(project: Path) -> None:
    with pytest.raises(ValueError, match="not the root of a git repository"):
        snapshot_commit()
    git("init", "--quiet")
    (project / "params.yaml").write_text("seed: 1\n")
    assert git("show", f"{snapshot_commit()}:params.yaml") == "seed: 1"


def test_a_commit_that_is_not_there_is_named(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="commit 0123456 cannot be checked out"):
        check_out("0123456", tmp_path / "out")


# --- A workspace ------------------------------------------------------------------------------------------------------------------------


def test_a_workspace_has_the_code_and_the_data_and_shares_the_cache(repo: Path) -> None:
    before = {path: path.read_bytes() for path in repo.rglob("*") if path.is_file() and ".git" not in path.parts}
    folder = repo / "data/work/retrain/workspace"
    raw = repo / "data/raw"
    make_workspace(folder, snapshot_commit(), raw=raw, names=file_names(raw), cache=Path(".dvc/cache"))
    assert (folder / "tasks/train.py").read_text() == "one\n"
    assert (folder / "data/raw/photos/a.jpg").samefile(raw / "photos/a.jpg"), "photographs are linked, not copied"
    assert yaml.safe_load((folder / "params.yaml").read_text())["paths"]["raw"] == "data/raw"
    assert "# of all" in (folder / "params.yaml").read_text()
    assert str((repo / ".dvc/cache").absolute()) in (folder / ".dvc/config.local").read_text()
    assert {path: path.read_bytes() for path in before} == before
    make_workspace(repo / "alone", snapshot_commit(), raw=raw, names=[], cache=None)
    assert "cache" not in (repo / "alone/.dvc/config.local").read_text()


def test_a_workspace_made_again_keeps_what_a_killed_training_can_go_on_from(repo: Path) -> None:
    folder, raw = repo / "data/work/workspace", repo / "data/raw"
    make_workspace(folder, snapshot_commit(), raw=raw, names=[], cache=None)
    (folder / "data/work").mkdir(parents=True, exist_ok=True)
    (folder / "data/work/train.pt").write_text("step 500")
    (folder / "data/index").mkdir()
    (folder / "stray.py").write_text("")
    for _ in range(2):
        make_workspace(folder, snapshot_commit(), raw=raw, names=[], cache=None)
        assert (folder / "data/work/train.pt").read_text() == "step 500"
        assert not (folder / "data/index").exists()
        assert not (folder / "stray.py").exists()


def test_inside_is_left_as_it_was_entered_whatever_happens(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "room").mkdir()
    monkeypatch.setenv("ATTUNE_A", "before")
    monkeypatch.delenv("ATTUNE_B", raising=False)
    seen = {}

    def look_and_fail() -> None:
        with inside(project / "room", {"ATTUNE_A": "in", "ATTUNE_B": "in"}):
            seen.update(os.environ, folder=Path.cwd().name)
            raise KeyError

    with pytest.raises(KeyError):
        look_and_fail()
    assert (seen["folder"], seen["ATTUNE_A"], seen["ATTUNE_B"]) == ("room", "in", "in")
    assert (Path.cwd(), os.environ["ATTUNE_A"], os.environ.get("ATTUNE_B")) == (project, "before", None)


# --- Data and outputs -------------------------------------------------------------------------------------------------------------------


def test_data_are_listed_by_hash_and_small_lists_by_content(repo: Path) -> None:
    (repo / "data/raw/.hidden").write_text("no")
    found = list_data(repo / "data/raw")
    assert sorted(found) == ["photos/a.jpg", "photos/manifest.csv"] == file_names(repo / "data/raw")
    assert found["photos/a.jpg"].sha256.startswith("ca978112ca1bbdca")  # as sha256sum prints it of "a"
    assert (found["photos/a.jpg"].text, found["photos/manifest.csv"].text) == (None, "image,mask\n")


def test_a_photograph_that_is_gone_or_was_changed_is_named(repo: Path) -> None:
    raw = repo / "data/raw"
    expected = {name: file.sha256 for name, file in list_data(raw).items()}
    check_data(expected, raw)
    (raw / "photos/a.jpg").write_text("b")
    with pytest.raises(ValueError, match=r"photos/a\.jpg: this version was trained on another file"):
        check_data(expected, raw)
    (raw / "photos/a.jpg").unlink()
    with pytest.raises(ValueError, match=r"photos/a\.jpg: this version was trained on it, and it is gone"):
        check_data(expected, raw)


def test_hashes_are_read_from_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert locked_outputs(lock) == {}
    lock.write_text(
        "stages:\n  ingest:\n    outs: [{path: data/index, md5: 0a.dir}]\n"
        "  train:\n    outs: [{path: m, md5: 1b}]\n"
    )
    assert locked_outputs(lock) == {"data/index": "0a.dir", "m": "1b"}
