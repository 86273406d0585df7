"""Train: supervised steps on pairs, adversarial steps on real composites, one parametric harmonizer."""

from prefect import flow

from flows.console import progress
from flows.ranks import fit_on_ranks
from flows.registry import log_model
from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.params import load_params
from tasks.train import train as fit


@flow(name="train")
def train() -> None:
    """Train the harmonizer, save it, and log it with the run."""
    params = load_params()
    with tracked_run("train", params) as run, progress("train") as advance:
        chosen = fit if params.train.num_processes == 1 else fit_on_ranks
        run.finish(chosen(params, run.report, advance, show=run.artifact))
        log_model(params.paths.harmonizer, run.run_id)


if __name__ == "__main__":
    run_stage(train)
