"""Train: supervised steps on pairs, adversarial steps on real composites, one parametric harmonizer."""

from prefect import flow

from flows.console import progress
from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.params import load_params
from tasks.train import train as fit


@flow(name="train")
def train() -> None:
    """Train the harmonizer and save it."""
    params = load_params()
    with tracked_run("train", params) as run, progress("train") as advance:
        run.finish(fit(params, run.report, advance))
        run.artifact(params.paths.harmonizer / "config.json")


if __name__ == "__main__":
    run_stage(train)
