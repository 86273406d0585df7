"""The whole chain as one Prefect flow: the stages of dvc.yaml, in DVC's own order, each as one Prefect task, under one Prefect server.

DVC alone decides what is stale, so `dvc repro` afterwards has nothing to do. Each stage's process leads a process group that ends with us.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from rich.table import Column, Table

from attune.files import read_json
from flows.console import console, faults_as_lines
from flows.graph import CODE, PlannedStage, plan_stages
from flows.processes import Leash, exit_on_sigterm, follow_parent
from flows.server import boot_server, configured_api, using_api
from flows.tracking import Execution, prepare_tracking, tracked_execution
from tasks.params import Params, load_params

DVC_TMP = Path(".dvc/tmp")


class StageFailed(ValueError):
    """A stage's own process has already said what is wrong."""


@flow(name="pipeline")
def pipeline() -> None:
    """Run what is stale, track it as one MLflow run, and print the summary. Raises StageFailed at the first stage that fails."""
    params, stages = load_params(), plan_stages()
    seconds: dict[str, float] = {}
    with tracked_execution() as execution, Leash() as leash:
        for number, stage in enumerate(stages, start=1):
            if not stage.is_due(set(seconds)):
                console.print(f"[dim]{number}/{len(stages)} {stage.name}: unchanged[/dim]")
                continue
            console.print(f"[bold]{number}/{len(stages)} {stage.name}[/bold]  [dim]{stage.description}[/dim]")
            run = Task(reproduce, name=stage.name, cache_policy=NO_CACHE, persist_result=False)
            seconds[stage.name] = run(stage.name, leash, stage_environment(execution))
        executed = execution.executed_stages() | (seconds.keys() & {CODE})  # which has no run of its own
        execution.log({f"seconds.{name}": value for name, value in seconds.items() if name in executed})
    print_summary(params, stages, seconds, executed)


def reproduce(stage: str, leash: Leash, environment: dict[str, str]) -> float:
    """Have DVC run one stage whose inputs are up to date, in a process group of its own; the seconds it took."""
    began = time.perf_counter()
    child = leash.start([sys.executable, "-m", "flows.graph", stage], env=environment)
    try:
        code = child.wait()
    finally:
        leash.end(child)
    if code != 0:
        raise StageFailed(f"stage {stage} failed, see above. Run again when that is mended: finished stages are kept")
    return time.perf_counter() - began


def stage_environment(execution: Execution) -> dict[str, str]:
    """The environment of a stage's process: this interpreter is its `python`, a plain shell runs it, our server and run are its own."""
    url = configured_api()
    assert url is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "SHELL": "/bin/sh", "PREFECT_API_URL": url, **execution.environment()}


def print_summary(params: Params, stages: list[PlannedStage], seconds: dict[str, float], executed: set[str]) -> None:
    """Print seconds per stage and the benchmarks' tables."""
    table = Table("stage", Column("seconds", justify="right"), title="stages", title_justify="left")
    for stage in stages:
        if stage.name in executed:
            table.add_row(stage.name, f"{seconds[stage.name]:.1f}")
        else:
            table.add_row(stage.name, "from DVC's cache" if stage.name in seconds else "unchanged", style="dim")
    console.print(table)
    metrics = params.paths.metrics / "evaluate.json"
    if metrics.is_file():
        for benchmark, methods in read_json(metrics).items():
            console.print(benchmark_table(benchmark, methods))


def benchmark_table(benchmark: str, methods: Mapping[str, Mapping[str, float]]) -> Table:
    """`{method: {"mse", "fmse", "psnr", "ssim", "num_images"}}` as a table, worst first.

    `of composite`: the share of the untouched composite's foreground error that is left.
    """
    columns = [Column(name, justify="right") for name in ("MSE", "fMSE", "of composite", "PSNR", "SSIM")]
    images = max((row["num_images"] for row in methods.values()), default=0)
    table = Table("method", *columns, title=f"{benchmark}, {images:.0f} test images", title_justify="left")
    untouched = methods.get("composite", {}).get("fmse")
    for method, row in sorted(methods.items(), key=lambda item: -item[1]["fmse"]):
        share = f"{row['fmse'] / untouched:.2f}" if untouched else ""
        numbers = (f"{row['mse']:.1f}", f"{row['fmse']:.1f}", share, f"{row['psnr']:.2f}", f"{row['ssim']:.4f}")
        table.add_row(method, *numbers, style="bold" if method == "harmonized" else None)
    return table


def print_plan(stages: list[PlannedStage]) -> None:
    """Print what a run would do, and why."""
    table = Table("stage", "would", "because", title="dry run", title_justify="left")
    due: set[str] = set()
    for stage in stages:
        if not stage.is_due(due):
            table.add_row(stage.name, "skip", "nothing changed", style="dim")
            continue
        after = sorted(due.intersection(stage.upstream))
        due.add(stage.name)
        table.add_row(stage.name, "run", "; ".join([*stage.reasons, *(f"after {name}" for name in after)]))
    console.print(table)


@contextmanager
def only_one(what: str = "pipeline") -> Iterator[None]:
    """Refuse a second one in this folder; the lock falls with the process, however it ends. Clears what a killed DVC left behind."""
    DVC_TMP.mkdir(parents=True, exist_ok=True)
    with open(DVC_TMP / f"attune-{what}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another {what} is running in {Path.cwd()}; wait for it or stop it") from None
        clear_stale_lock(DVC_TMP / "rwlock")
        yield


def clear_stale_lock(path: Path) -> None:
    """Remove DVC's table of locks if none of the processes in it is a living DVC: it may be cut off, or name a number used again since."""
    if not path.is_file():
        return
    try:
        table = json.loads(path.read_text())
        holders = [*table.get("write", {}).values(), *(info for infos in table.get("read", {}).values() for info in infos)]
        alive = any(_is_dvc(int(info["pid"])) for info in holders)
    except (ValueError, KeyError, TypeError, AttributeError):
        alive = False
    if not alive:
        path.unlink()


def _is_dvc(pid: int) -> bool:
    try:
        return any(Path(word).name in ("dvc", "flows.graph") for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def run_pipeline() -> None:
    """Run the pipeline's flow under one Prefect server, and say where to look; start nothing where nothing is stale."""
    params, stages = load_params(), plan_stages()
    if not any(stage.reasons for stage in stages):
        print_summary(params, stages, {}, set())
    elif configured_api() is not None:
        pipeline()
    else:
        with Leash() as leash:
            server = boot_server(leash)
            prepare_tracking()  # while the server boots
            with using_api(server.wait()):
                pipeline()
    console.print(f"pictures: {params.paths.report}    figures: dvc metrics show, dvc plots show    runs: make ui")


def main() -> None:
    """The command `python -m flows.pipeline`."""
    parser = argparse.ArgumentParser(description="Run every stage that is out of date.")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why, and run nothing")
    arguments = parser.parse_args()
    exit_on_sigterm()
    follow_parent("MAKELEVEL")
    with faults_as_lines("pipeline"), only_one():
        if arguments.dry_run:
            load_params()
            print_plan(plan_stages())
        else:
            run_pipeline()


if __name__ == "__main__":
    main()
