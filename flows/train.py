"""Train: supervised steps on pairs, adversarial steps on real composites, one parametric harmonizer."""

from collections.abc import Mapping
from pathlib import Path

from prefect import flow

from attune.model_files import MODEL_ONNX
from flows.console import console, progress, working
from flows.ranks import fit_on_ranks
from flows.registry import fetch_model, log_model
from flows.stage import run_stage
from flows.tracking import read_lineage, tracked_run
from models.harmonizer import ParametricHarmonizer
from tasks.export import release_harmonizer
from tasks.harmonizer_files import load_harmonizer
from tasks.model_about import describe_model
from tasks.params import Params, load_params
from tasks.train import train as fit
from tasks.training.starting import NONE, SHIPPED


def with_start(params: Params) -> Params:
    """`params` with a version of the registry that `train.start_from` names as the folder of its files."""
    start = params.train.start_from
    if start in (NONE, SHIPPED) or Path(start).is_dir():
        return params
    folder = fetch_model(start)
    return params.model_copy(update={"train": params.train.model_copy(update={"start_from": str(folder)})})


@flow(name="train")
def train() -> None:
    """Train the harmonizer, save it, and log it with the run."""
    params = with_start(load_params())
    with tracked_run("train", params) as run, progress("train") as advance:

        def report(metrics: Mapping[str, float], step: int) -> None:
            run.report(metrics, step)
            if "val_fmse" in metrics:
                ratio = metrics["val_fmse"] / metrics["val_composite_fmse"]
                console.print(f"train: step {step}, {ratio:.3f} of the composites' fMSE on the validation split")

        chosen = fit if params.train.num_processes == 1 else fit_on_ranks
        figures = chosen(params, report, advance, show=run.artifact)
        released = _release(params, figures)
        run.finish(figures)
        log_model(params.paths.harmonizer, run.run_id)
    at = f", at {figures['strength']:g} of their strength" if figures["strength"] < 1 else ""
    console.print(f"train: the weights of step {figures['kept_step']:.0f} are kept{at}; {released}")


def _release(params: Params, figures: Mapping[str, float]) -> str:
    """Write the file that attune runs beside the weights; what is to be said of it."""
    folder = params.paths.harmonizer
    model, _ = load_harmonizer(folder)
    if not isinstance(model, ParametricHarmonizer):
        return "the architecture predicts no edit: there is no file for attune"
    about = describe_model(folder, params.paths.index, figures=figures, lineage=read_lineage("train", params))
    with working("train: writing the released model"):
        difference = release_harmonizer(model, folder / MODEL_ONNX, about)
    return f"{folder / MODEL_ONNX} is within {difference:.1g} of torch's edits"


if __name__ == "__main__":
    run_stage(train)
