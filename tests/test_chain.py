"""The whole chain for real, on the tiny profile: a Prefect flow over DVC's stages, in a copy of the project whose path holds a space."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.configure import configure
from tasks.index import TABLES, read_index

pytestmark = pytest.mark.slow

STAGES = ["ingest", "mine", "fit_syconet", "augment", "train", "evaluate", "report"]
TIMEOUT_SECONDS = 400


def environment() -> dict[str, str]:
    """A newcomer's environment: this interpreter first on the path, nobody's server or database, no name for Git."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "DVC_", "ATTUNE_", "GIT_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**own, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull, "OMP_NUM_THREADS": "1"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=folder, env=environment(), check=False, timeout=TIMEOUT_SECONDS, **pipes)


def run_pipeline(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "flows.pipeline", *options)


def processes_in(folder: Path) -> list[str]:
    """The command lines of what still runs in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def query(database: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def chain(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the pipeline has run once."""
    folder = copy_project(repository, tmp_path_factory.mktemp("the chain") / "my clone")
    configure("tiny", params=folder / "params.yaml", profiles=folder / "profiles")
    done = run_pipeline(folder)
    assert done.returncode == 0, done.stdout
    (folder / "said.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def params(chain: Path) -> Iterator[Path]:
    """params.yaml of the chain, put back afterwards."""
    path = chain / "params.yaml"
    before = path.read_text()
    yield path
    path.write_text(before)


# --- What it leaves ---------------------------------------------------------------------------------------------------------------------


def test_every_stage_leaves_its_output(chain: Path) -> None:
    for name in ("index", "mined", "shards"):
        assert (chain / "data" / name / "manifest.json").is_file(), name
    for table in TABLES:
        read_index(chain / "data/index", table)
    assert read_index(chain / "data/index", "pairs", split="test")
    for name in ("syconet", "harmonizer"):
        assert (chain / "data/checkpoints" / name / "model.pt").is_file()
        assert (chain / "data/checkpoints" / name / "config.json").is_file()
    assert (chain / "data/mined/recipes.parquet").is_file()
    assert list((chain / "data/shards").glob("train-*.tar"))
    assert list((chain / "data/report").glob("sheet_*.png"))
    assert (chain / "data/measures/per_image.parquet").is_file()
    assert {path.stem for path in (chain / "data/metrics").glob("*.json")} == {*STAGES[:-1], "evaluate_real", "naturalness", "appearance"}


def test_nothing_half_written_is_left(chain: Path) -> None:
    assert not list(chain.rglob(".tmp-*"))


def test_the_benchmark_has_the_form_that_other_work_leans_on(chain: Path) -> None:
    metrics = json.loads((chain / "data/metrics/evaluate.json").read_text())
    assert set(metrics) == set(yaml.safe_load((chain / "params.yaml").read_text())["evaluate"]["benchmarks"])
    for methods in metrics.values():
        assert {"composite", "reinhard", "lab_shift", "harmonized"} <= set(methods)
        for row in methods.values():
            assert {"mse", "fmse", "psnr", "ssim", "num_images"} <= set(row)


def test_it_says_what_it_did(chain: Path) -> None:
    said = (chain / "said.txt").read_text()
    for stage in STAGES:
        assert f"/8 {stage}  " in said
    assert "test images" in said
    assert "Traceback" not in said
    assert "Error" not in said


def test_it_leaves_no_process(chain: Path) -> None:
    assert processes_in(chain) == []


def test_mlflow_has_one_run_with_one_nested_run_per_stage(chain: Path) -> None:
    runs = query(chain / "mlflow.db", "select name, status, run_uuid from runs order by start_time")
    assert [(name, status) for name, status, _ in runs] == [(name, "FINISHED") for name in ("pipeline", *STAGES)]
    assert query(chain / "mlflow.db", "select distinct value from tags where key = 'mlflow.parentRunId'") == [(runs[0][2],)]
    assert {name for (name,) in query(chain / "mlflow.db", "select name from datasets")} >= {"index", "shards", "mined", "harmonizer"}


def test_mlflow_and_the_metrics_files_hold_the_same_numbers(chain: Path) -> None:
    for stage in STAGES[:-2]:
        rows = query(chain / "mlflow.db", f"select key, value from latest_metrics natural join runs where name = '{stage}'")
        written = json.loads((chain / "data/metrics" / f"{stage}.json").read_text())
        assert written
        assert {key: value for key, value in rows if key in written} == pytest.approx(written)


def test_prefect_has_a_completed_flow_per_stage_and_one_for_the_pipeline(chain: Path) -> None:
    sql = "select flow.name, flow_run.state_type from flow_run join flow on flow.id = flow_run.flow_id"
    rows = query(chain / ".prefect/prefect.db", sql)
    assert sorted(rows) == sorted((name, "COMPLETED") for name in ("pipeline", *STAGES))
    tasks = {name.rpartition("-")[0] for (name,) in query(chain / ".prefect/prefect.db", "select name from task_run")}
    assert tasks >= {*STAGES, "check_chunk", "compose_chunk", "render_shard", "write_pair_shard"}


# --- Once more --------------------------------------------------------------------------------------------------------------------------


def test_dvc_has_nothing_left_to_do(chain: Path) -> None:
    before = (chain / "dvc.lock").read_bytes()
    done = run(chain, "dvc", "repro")
    assert done.returncode == 0
    assert done.stdout.count("didn't change, skipping") == len(STAGES) + 1  # and the list of each stage's files
    assert (chain / "dvc.lock").read_bytes() == before


def test_a_second_pipeline_starts_nothing(chain: Path) -> None:
    done = run_pipeline(chain)
    assert done.returncode == 0
    assert done.stdout.count("unchanged") == len(STAGES) + 1
    assert len(query(chain / "mlflow.db", "select name from runs where name = 'pipeline'")) == 1


def test_a_dry_run_tells_what_a_learning_rate_would_cost(chain: Path, params: Path) -> None:
    text = params.read_text()
    value = yaml.safe_load(text)["train"]["optimizer"]["lr"]
    head, tail = text.split("\ntrain:")
    params.write_text(head + "\ntrain:" + tail.replace("    lr: ", "    lr: 2", 1))
    assert yaml.safe_load(params.read_text())["train"]["optimizer"]["lr"] != value
    done = run_pipeline(chain, "--dry-run")
    rows = {cells[0].strip(): cells[1].strip() for line in done.stdout.splitlines() if len(cells := line.strip("│").split("│")) == 3}
    wanted = {stage: "run" if stage in ("train", "evaluate", "report") else "skip" for stage in STAGES}
    assert {stage: rows[stage] for stage in STAGES} == wanted


def test_dvc_alone_in_a_clean_copy_gives_the_same_files(
    chain: Path, copy_project: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    folder = copy_project(chain, tmp_path / "other")
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout
    assert outputs(folder) == outputs(chain)
    assert processes_in(folder) == []


def outputs(folder: Path) -> dict[str, str]:
    """Path -> hash of every output, as DVC locked it."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


# --- Kill and restart -------------------------------------------------------------------------------------------------------------------


EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


def test_a_killed_pipeline_leaves_no_process_and_the_next_one_finishes(chain: Path, params: Path) -> None:
    before = params.read_text()
    head, tail = before.split("\ntrain:")
    params.write_text(head + "\ntrain:" + tail.replace("  steps: 16", "  steps: 200", 1))
    for number, code in EXIT_CODES.items():
        assert kill_while_training(chain, number) == code
        assert wait_for(lambda: processes_in(chain) == [], seconds=30), processes_in(chain)
        assert not list((chain / "data/checkpoints").glob("harmonizer/*")), "a model that was not trained to its end"
    done = run_pipeline(chain)
    assert done.returncode == 0, done.stdout
    assert not list(chain.rglob(".tmp-*"))
    assert "up to date" in run(chain, "dvc", "status").stdout
    params.write_text(before)
    assert run_pipeline(chain).returncode == 0


# `python -m flows.pipeline`, but one that heeds SIGINT: what a shell starts in the background ignores it, and so would all of its children.
HEEDING_PIPELINE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("flows.pipeline", run_name="__main__", alter_sys=True)
"""


def kill_while_training(folder: Path, number: int) -> int:
    """The exit code of a pipeline that gets the signal `number` once training goes on."""
    checkpoint = folder / "data/work/train.pt"
    began = time.time()
    with open(folder / "killed.txt", "w") as said, subprocess.Popen(
        [sys.executable, "-c", HEEDING_PIPELINE], cwd=folder, env=environment(), stdout=said, stderr=subprocess.STDOUT
    ) as killed:
        trains = wait_for(lambda: checkpoint.is_file() and checkpoint.stat().st_mtime > began)
        killed.send_signal(number)
        code = killed.wait(timeout=60)
    assert trains, (folder / "killed.txt").read_text()
    return code


def wait_for(condition: Callable[[], bool], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


# --- Faults -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 1 ", "sed: 1 ", "params.yaml: seed: Field required; sed: Extra inputs are not permitted"),
        ("  val_share: 0.10", "  val_share: 10", "params.yaml: ingest.val_share: Input should be less than or equal to 1 (got 10)"),
        ("  sources: [starter]", "  sources: [photos]", "ingest.folders.photos"),
        ("  raw: data/raw ", "  raw: no/such ", "no/such"),
    ],
)
def test_a_fault_ends_the_command_with_a_line_that_names_it(chain: Path, params: Path, old: str, new: str, said: str) -> None:
    assert old in params.read_text()
    params.write_text(params.read_text().replace(old, new, 1))
    done = run_pipeline(chain)
    assert done.returncode == 1
    assert said in done.stdout
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) < 12
    assert processes_in(chain) == []


def test_a_stage_alone_says_where_it_must_run(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.train"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment(), "PYTHONPATH": str(repository)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "params.yaml: no such file; run from the project's root" in done.stdout
