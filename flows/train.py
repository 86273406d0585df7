"""Train: supervised steps on pairs, adversarial steps on real composites, one parametric harmonizer."""

from collections.abc import Mapping

from prefect import flow

from flows.console import console, progress
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

        def report(metrics: Mapping[str, float], step: int) -> None:
            run.report(metrics, step)
            if "val_fmse" in metrics:
                ratio = metrics["val_fmse"] / metrics["val_composite_fmse"]
                console.print(f"train: step {step}, {ratio:.3f} of the composites' fMSE on the validation split")

        chosen = fit if params.train.num_processes == 1 else fit_on_ranks
        figures = chosen(params, report, advance, show=run.artifact)
        run.finish(figures)
        log_model(params.paths.harmonizer, run.run_id)
    at = f", at {figures['strength']:g} of their strength" if figures["strength"] < 1 else ""
    console.print(f"train: the weights of step {figures['kept_step']:.0f} are kept{at}")


if __name__ == "__main__":
    run_stage(train)
