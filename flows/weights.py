"""The weights that are shipped: trained in phases on the photographs that are configured, and exported for the tool.

    python -m flows.weights       after `make configure PROFILE=photos RAW=...` and `dvc repro augment`; `make weights RAW=...` does all

Some hours on two cores; killed at any moment, it goes on where it was. What is shipped stays as it is until the last phase is done.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from flows.console import console, faults_as_lines, progress
from flows.export import export
from tasks.params import load_params
from tasks.phases import train_in_phases

DEFAULT_MODEL = Path("attune/weights/default.onnx")


def weights(model: Path = DEFAULT_MODEL) -> None:
    """Train in phases, put the result into `weights.folder`, and write `model`, which the package carries."""
    params = load_params()
    with progress("weights") as advance:
        figures = train_in_phases(params, _report, advance)
    console.print(f"weights: {figures['val_fmse_ratio']:.3f} of the validation pairs' fMSE is left; {params.weights.folder}")
    export(params.weights.folder, model, "float16", None, index=params.paths.index)


def _report(metrics: Mapping[str, float], step: int) -> None:
    if "val_fmse" in metrics:
        ratio = metrics["val_fmse"] / metrics["val_composite_fmse"]
        console.print(f"weights: step {step}, {ratio:.3f} of the composites' fMSE on the validation split")


def main() -> None:
    """The command `python -m flows.weights`."""
    argparse.ArgumentParser(description="Train the weights that are shipped, in the phases of params.yaml, and export them.").parse_args()
    with faults_as_lines("weights"):
        weights()


if __name__ == "__main__":
    main()
