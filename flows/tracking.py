"""MLflow runs: one for an execution of the pipeline, one nested run per stage. The only module here that imports mlflow.

The same numbers stand in MLflow and in `data/metrics/<stage>.json`, because both are written here from one value. Metrics travel in
batches: a hundred single calls cost 0.8 s, one batch of a hundred 0.03 s.
"""

import hashlib
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from attune.files import read_json, write_json
from tasks.params import Params

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "attune"
PARENT = "ATTUNE_PARENT_RUN"  # MLFLOW_RUN_ID would reopen the parent instead of nesting under it
SQLITE = "sqlite:///"
DEFAULT_URI = f"{SQLITE}mlflow.db"
FLUSH_SECONDS = 15.0
BATCH = {"metrics": 1000, "params": 100}  # MLflow's limits on one call
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one, where there is one, reads these files ten times as fast
PROJECT_FILES = (Path("dvc.yaml"), Path("dvc.lock"))


class TrackedRun:
    """One stage's MLflow run while it is open."""

    def __init__(self, client: "MlflowClient", run_id: str, stage: str, params: Params) -> None:
        self.run_id = run_id
        self._client = client
        self._stage = stage
        self._params = params
        self._waiting: list[tuple[str, float, int, int]] = []
        self._last_step = 0
        self._flushed = time.monotonic()

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Take `metrics` at `step`; they reach MLflow in batches, every 15 seconds and at the end."""
        now = round(time.time() * 1000)
        self._last_step = max(self._last_step, step)
        self._waiting += [(name, float(value), now, step) for name, value in metrics.items()]
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the stage's final `metrics` to `data/metrics/<stage>.json` and to MLflow."""
        write_json(self._params.paths.metrics / f"{self._stage}.json", dict(metrics))
        self.finish_from_file()

    def finish_from_file(self) -> None:
        """Send what stands in `data/metrics/<stage>.json`, nested keys joined by dots, to MLflow."""
        path = self._params.paths.metrics / f"{self._stage}.json"
        numbers = {name: value for name, value in flatten(read_json(path)).items() if isinstance(value, int | float)}
        self.report(numbers, self._last_step)  # MLflow shows the value of the last step as the run's
        self.artifact(path)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file, or of a folder under its own name, with the run."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))

    def flush(self) -> None:
        """Send the metrics that wait."""
        from mlflow.entities import Metric

        entries = [Metric(name, value, when, step) for name, value, when, step in self._waiting]
        self._waiting = []
        for first in range(0, len(entries), BATCH["metrics"]):
            self._client.log_batch(self.run_id, metrics=entries[first : first + BATCH["metrics"]])
        self._flushed = time.monotonic()


@contextmanager
def tracked_run(stage: str, params: Params) -> Iterator[TrackedRun]:
    """The MLflow run of a stage ("train", or "finetune_syconet@photos" of a DVC matrix): its params section, its input datasets as DVC
    knows them, and where the code stood.

    Nested under the pipeline's run where there is one. Ends as FINISHED, FAILED or KILLED, whatever the block raises.
    """
    client, experiment = open_store()
    tags = {"mlflow.source.name": f"flows.{_file_of(stage)}", "mlflow.source.type": "LOCAL", "stage": stage, **_parent(), **_versions()}
    run_id = client.create_run(experiment, run_name=stage, tags=tags).info.run_id
    _log_params(client, run_id, stage, params)
    _log_inputs(client, run_id, stage, params)
    run = TrackedRun(client, run_id, stage, params)
    with _terminated(client, run_id):
        yield run
        run.flush()


def prepare_tracking() -> None:
    """Make the tracking database and the experiment, once, before several processes could at the same time."""
    open_store()


@contextmanager
def tracked_execution(name: str = "pipeline") -> Iterator["Execution"]:
    """The parent run of one execution of the pipeline, or of a retraining around it; nested under one that is open already."""
    client, experiment = open_store()
    tags = {"mlflow.source.name": f"flows.{name}", "mlflow.source.type": "LOCAL", **_parent(), **_versions()}
    run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    with _terminated(client, run_id):
        yield Execution(client, experiment, run_id)


class Execution:
    """The parent run of one execution of the pipeline, or of a retraining."""

    def __init__(self, client: "MlflowClient", experiment: str, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._experiment = experiment

    def environment(self) -> dict[str, str]:
        """What a stage's process needs to nest its run under this one."""
        return {PARENT: self.run_id}

    def executed_stages(self) -> set[str]:
        """The stages that ran under this execution: DVC skipped the others, or restored them from its cache."""
        found = self._client.search_runs([self._experiment], f"tags.`mlflow.parentRunId` = '{self.run_id}'")
        return {run.data.tags["stage"] for run in found}

    def log(self, metrics: Mapping[str, float]) -> None:
        """Send metrics of the execution as a whole."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])

    def tag(self, tags: Mapping[str, str]) -> None:
        """Say something of the execution as a whole."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, value)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file with the run."""
        self._client.log_artifact(self.run_id, str(path))


def end_left_open(run_id: str) -> None:
    """End as KILLED a run whose process was killed, and those nested below it that are still open."""
    from mlflow.exceptions import MlflowException

    client, experiment = open_store()
    try:
        left = [client.get_run(run_id)]
    except MlflowException:
        return
    while left:
        run = left.pop()
        left += client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def read_lineage(stage: str, params: Params) -> dict[str, str]:
    """Where a stage's results come from: the git commit, where there is one, and DVC's hash of each input that another stage put out."""
    inputs = read_inputs(stage, {name: str(path) for name, path in params.paths})
    return read_commit() | {f"{path}, DVC": digest for path, digest in inputs.items()}


def read_commit() -> dict[str, str]:
    """The git commit that is checked out, as `read_lineage` names it; nothing where there is none."""
    commit = _commit()
    return {"git commit": commit} if commit else {}


def read_inputs(stage: str, paths: Mapping[str, str], files: tuple[Path, Path] = PROJECT_FILES) -> dict[str, str]:
    """Input path -> DVC's hash, for each dependency of `stage` that another stage of `dvc.yaml` put out, as `dvc.lock` has it."""
    stages, lock = (yaml.load(path.read_text(), Loader=YAML_LOADER) or {} if path.is_file() else {} for path in files)
    wanted = [str(dep) for dep in stages.get("stages", {}).get(_file_of(stage), {}).get("deps", [])]
    for name, path in paths.items():
        wanted = [dep.replace(f"${{paths.{name}}}", path) for dep in wanted]
    outs = [out for locked in lock.get("stages", {}).values() for out in locked.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"] in wanted and "md5" in out}


def store_uri() -> str:
    """Where runs and registered models are kept: `MLFLOW_TRACKING_URI`, by default a file in the project's root. A file's path is absolute:
    MLflow keeps stores open by their names, whatever the current folder has become.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI)
    path = uri.removeprefix(SQLITE)
    return uri if path == uri else f"{SQLITE}{Path(path).absolute()}"


def store_name() -> str:
    """`store_uri()` for people: a user's name and password in it are left out."""
    return without_passwords(store_uri())


def without_passwords(text: str) -> str:
    """`text` with the part of every address before its host, `user:password@`, left out."""
    return re.sub(r"(?<=//)[^/@\s]*@", "", text)


def open_store() -> tuple["MlflowClient", str]:
    """A client of the store, and the number of the experiment; both are made where they are not there yet.

    Raises ValueError naming the store if it cannot be used.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    uri = store_uri()
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return client, str(found.experiment_id)
        local = uri.startswith(SQLITE)  # a tracking server decides for itself
        return client, str(client.create_experiment(EXPERIMENT, Path("mlartifacts").absolute().as_uri() if local else None))
    except MlflowException as error:
        raise ValueError(without_passwords(f"MLFLOW_TRACKING_URI={uri}: {error}")) from error


def _parent() -> dict[str, str]:
    return {"mlflow.parentRunId": os.environ[PARENT]} if PARENT in os.environ else {}


def _log_params(client: "MlflowClient", run_id: str, stage: str, params: Params) -> None:
    from mlflow.entities import Param

    section = _file_of(stage).removeprefix("fit_").removeprefix("finetune_")
    own = {section: getattr(params, section).model_dump(mode="json")} if hasattr(params, section) else {}  # the report has none
    values = {"seed": params.seed, **flatten(own)}
    entries = [Param(name, str(value)) for name, value in values.items()]
    for first in range(0, len(entries), BATCH["params"]):
        client.log_batch(run_id, params=entries[first : first + BATCH["params"]])


def _log_inputs(client: "MlflowClient", run_id: str, stage: str, params: Params) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    paths = {name: str(path) for name, path in params.paths}
    context = [InputTag("mlflow.data.context", stage)]
    inputs = [
        DatasetInput(Dataset(name=Path(path).name, digest=digest, source_type="local", source=path), context)
        for path, digest in read_inputs(stage, paths).items()
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def _file_of(stage: str) -> str:
    """The flow's file: what stands before the unit of a DVC matrix."""
    return stage.partition("@")[0]


def _versions() -> dict[str, str]:
    """Where the code and the data stood: the git commit, where there is one, and a hash of dvc.lock."""
    commit = _commit()
    tags = {"mlflow.source.git.commit": commit} if commit else {}
    lock = PROJECT_FILES[1]
    if lock.is_file():
        tags["dvc.lock"] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    return tags


def _commit() -> str:
    """The git commit that is checked out; empty where there is none, or no git."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False) if _has_git() else None
    return git.stdout.strip() if git is not None and git.returncode == 0 else ""


def _has_git() -> bool:
    return any(Path(folder, "git").is_file() for folder in os.get_exec_path())


@contextmanager
def _terminated(client: "MlflowClient", run_id: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        client.set_tag(run_id, "error", str(error)[:500])
        client.set_terminated(run_id, "FAILED")
        raise
    except BaseException:
        client.set_terminated(run_id, "KILLED")
        raise
    client.set_terminated(run_id, "FINISHED")
