"""Evaluate: the harmonizer beside the baselines on each benchmark's test pairs; figures, a row per image, the cases to look at."""

from prefect import flow

from flows.console import progress
from flows.stage import run_stage
from flows.tracking import read_lineage, tracked_run
from tasks.evaluate import evaluate as measure
from tasks.params import load_params


@flow(name="evaluate")
def evaluate() -> None:
    """Write the benchmarks' metrics, and what the report is made of."""
    params = load_params()
    with tracked_run("evaluate", params) as run, progress("evaluate") as advance:
        # It writes its own metrics file, one level per benchmark and method.
        measure(params, advance, lineage=read_lineage("evaluate", params))
        run.finish_from_file()
        run.artifact(params.paths.metrics / "evaluate_real.json")
        run.artifact(params.paths.measures)


if __name__ == "__main__":
    run_stage(evaluate)
