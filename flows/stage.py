"""How a stage runs: as a program under one Prefect server, its units of work as Prefect tasks, over threads or Dask's processes."""

import argparse
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import unmapped

from flows.console import faults_as_lines, progress
from flows.processes import exit_on_sigterm, follow_parent
from flows.server import prefect_api
from tasks.params import Params

Unit = TypeVar("Unit")
Result = TypeVar("Result")

RETRIES = 2
RETRY_DELAY_SECONDS = 1


def attempt(work: Callable[..., Result], *arguments: Any) -> Result:
    """`work(*arguments)` as one Prefect task, tried again after an OSError alone."""
    return _retried(work)(*arguments)


def map_units(
    work: Callable[[Params, Unit], Result], params: Params, units: Sequence[Unit], *,
    num_workers: int, executor: Literal["threads", "dask"] = "threads",
) -> list[Result]:
    """`work(params, unit)` of every unit, in the units' order, each as one Prefect task, at most `num_workers` at once.

    A unit is tried again after an OSError alone: anything else would fail again. The first failure ends the others and is raised as it is.
    executor: "dask" runs units in processes of a Dask cluster on this machine; results and files are the same. Raises ValueError if
    prefect-dask is not installed.
    """
    name, (first, second) = work.__name__, list(inspect.signature(work).parameters)[:2]
    retried: Task[..., Any] = _retried(work)
    if not units:
        return []
    with progress(name.replace("_", " ")) as advance, _task_runner(executor, num_workers) as runner:
        futures = list(runner.map(retried, {first: unmapped(params), second: list(units)}))
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            advance(done, len(units))
        results: list[Any] = [future.result() for future in futures]
        return results


def _retried(work: Callable[..., Result]) -> Task[..., Result]:
    return Task(
        work, name=work.__name__, retries=RETRIES, retry_delay_seconds=RETRY_DELAY_SECONDS, retry_condition_fn=_is_os_error,
        cache_policy=NO_CACHE, persist_result=False,
    )


def _task_runner(executor: str, num_workers: int) -> TaskRunner[Any]:
    if executor == "threads":
        return ThreadPoolTaskRunner(max_workers=num_workers)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ValueError(
            f'speed.executor: dask needs prefect-dask, which is not installed ({error}): pip install "attune[dask]", or set it to threads'
        ) from error
    logging.getLogger("distributed").setLevel(logging.WARNING)
    return DaskTaskRunner(cluster_kwargs={
        "n_workers": num_workers, "threads_per_worker": 1,
        "memory_limit": None,  # it would kill a worker that holds one large photograph too many
        "dashboard_address": "127.0.0.1:0",  # any free port, and nobody else's business
    })


def _is_os_error(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), OSError)


def run_stage(stage: Flow[..., None]) -> None:
    """Run a stage's flow as a program: under the pipeline's Prefect server, or one of its own where it was started alone.

    The flow's own parameters, which of its units a stage of a DVC matrix is, are the program's arguments.
    """
    parser = argparse.ArgumentParser(description=f"{stage.description} All values come from params.yaml; `make pipeline` runs every stage.")
    for name in inspect.signature(stage.fn).parameters:
        parser.add_argument(name)
    arguments = vars(parser.parse_args())
    exit_on_sigterm()
    follow_parent("DVC_STAGE")
    with faults_as_lines(stage.name), prefect_api():
        stage(**arguments)
