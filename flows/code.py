"""Code: the files that each stage is made of, with their hashes, so that DVC runs a stage again when its own code changes, and no other's.

flows/ itself is not among them: orchestration decides when and how often work is done, never what comes out of it. Nor is the schema of
params: the values themselves are tracked one by one, and a new key of one stage makes no other stale.
"""

import hashlib
from pathlib import Path

import yaml

from attune.files import clear_folder, write_json
from attune.unit_keys import import_closure
from flows.console import faults_as_lines
from flows.graph import CODE, PIPELINE
from tasks.params import load_params


def list_code(stage: str) -> dict[str, str]:
    """The files behind a stage's flow, as the current folder has them, each with a hash of its bytes."""
    flow = Path("flows", f"{stage}.py").absolute()
    files = sorted(file.relative_to(Path.cwd()) for file in import_closure(flow) - {flow})
    return {file.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def write_code(folder: Path, pipeline: Path) -> None:
    """Write `<stage>.json`, its `list_code`, into `folder` for every stage of a dvc.yaml but the one that does this."""
    stages = yaml.safe_load(pipeline.read_text())["stages"]
    clear_folder(folder)
    for stage in stages.keys() - {CODE}:
        write_json(folder / f"{stage}.json", list_code(stage))


if __name__ == "__main__":
    with faults_as_lines(CODE):
        write_code(load_params().paths.code, Path(PIPELINE))
