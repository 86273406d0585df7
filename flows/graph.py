"""What DVC knows: the stages in its own order, and why each would run. `python -m flows.graph <stage>` has it run one."""

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune.files import read_json
from flows.console import faults_as_lines

CODE = "code"  # the stage that lists every other's files
PIPELINE = "dvc.yaml"  # the studies have a file of their own, and run when they are asked for


@dataclass(frozen=True)
class PlannedStage:
    """One stage of dvc.yaml as it stands now."""

    name: str
    description: str
    upstream: tuple[str, ...]  # but for the stage of the code: what it will change is among the reasons already
    reasons: tuple[str, ...]  # why it is out of date by itself; empty if it is not

    def is_due(self, executed: set[str]) -> bool:
        """Whether DVC has to look at it again, given the stages that ran before it."""
        return bool(self.reasons) or not executed.isdisjoint(self.upstream)


def plan_stages() -> list[PlannedStage]:
    """The stages of dvc.yaml in the order in which `dvc repro` would visit them.

    Where any code has changed, the lists of each stage's files are written anew first: they say which stages it concerns.
    Raises ValueError if dvc.yaml, dvc.lock or a file that a stage needs cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    try:
        with Repo() as repo:
            graph = repo.index.graph
            status = repo.status(PIPELINE)
            if status.get(CODE):
                subprocess.run([sys.executable, "-m", f"flows.{CODE}"], check=True)  # a process of its own: the code as it is on disk
                status = repo.status(PIPELINE)
            return [
                PlannedStage(
                    name=stage.addressing,
                    description=stage.desc or "",
                    upstream=tuple(sorted({dependency.addressing for dependency in graph.successors(stage)} - {CODE})),
                    reasons=tuple(_reasons(status.get(stage.addressing, []), _changed_files(repo, stage))),
                )
                for stage in plan_repro(graph) if stage.path_in_repo == PIPELINE
            ]
    except DvcException as error:
        raise ValueError(f"DVC: {error} (`dvc status` may say more)") from error


def _changed_files(repo: Any, stage: Any) -> dict[str, list[str]]:
    """By the name of the list of a stage's files: those of them that are others than when it ran; none where DVC keeps no such list."""
    changed: dict[str, list[str]] = {}
    for dep in stage.deps:
        known = Path(repo.cache.local.oid_to_path(dep.hash_info.value)) if dep.hash_info and Path(dep.fs_path).parent.name == CODE else None
        if known is not None and known.is_file() and Path(dep.fs_path).is_file():
            before, after = read_json(known), read_json(Path(dep.fs_path))
            changed[str(dep)] = [file for file in sorted({*before, *after}) if before.get(file) != after.get(file)]
    return changed


def _reasons(entries: list[Any], files: Mapping[str, list[str]]) -> list[str]:
    """DVC's nested status of a stage (`[{"changed deps": {"params.yaml": {"modified": {"train.lr": ...}}}}]`) as short phrases."""
    reasons: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            reasons.append(entry)
            continue
        for items in entry.values():
            for name, state in items.items():
                nested = state if isinstance(state, dict) else {state: files.get(name) or [name]}
                reasons += [f"{key} {how}" for how, keys in nested.items() for key in keys]
    return reasons


def reproduce_one(stage: str) -> None:
    """What `dvc repro --single-item` does, without its lines on every step. Raises SystemExit if the stage failed: it has said why."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageCmdFailedError

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo() as repo:
            repo.reproduce(stage, single_item=True)
    except DvcException as error:
        cause = error.__cause__ or error
        if isinstance(cause, StageCmdFailedError):
            raise SystemExit(1) from None
        raise ValueError(f"DVC: {cause}") from error


if __name__ == "__main__":
    with faults_as_lines(sys.argv[1]):
        reproduce_one(sys.argv[1])
