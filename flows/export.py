"""Export: a trained harmonizer becomes the file that attune runs.

    python -m flows.export FOLDER --out attune/weights/default.onnx --weights float16 --figures data/metrics/evaluate.json

The stage `train` does so for the harmonizer that it trains; this command does it for any folder with `model.pt` and `config.json`.
"""

import argparse
from pathlib import Path

from attune.files import read_json
from attune.model_files import MODEL_ONNX
from flows.console import console, faults_as_lines
from flows.tracking import read_commit, read_lineage
from tasks.export import Weights, release_harmonizer
from tasks.harmonizer_files import load_harmonizer
from tasks.model_about import describe_model
from tasks.params import load_params


def export(folder: Path, out: Path, weights: Weights, figures: Path | None, *, index: Path | None = None) -> None:
    """Write `out` and its JSON, and say how large and how exact they are.

    index: that the model was trained on; the JSON then tells its training photographs and their licences, and the commit that is checked
    out. Where none is named the stage's own harmonizer has that of params.yaml, and DVC's hashes too: of any other nothing is known.
    """
    params = load_params()
    ours = index is None and folder.resolve() == params.paths.harmonizer.resolve()
    lineage = read_lineage("train", params) if ours else read_commit() if index else {}
    about = describe_model(
        folder, params.paths.index if ours else index, figures=read_json(figures) if figures else {}, lineage=lineage
    )
    difference = release_harmonizer(load_harmonizer(folder)[0], out, about, weights=weights)
    console.print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, weights as {weights}, edits within {difference:.1g} of torch's")


def main() -> None:
    """The command `python -m flows.export`."""
    parser = argparse.ArgumentParser(description="Write a trained harmonizer as the ONNX file and the JSON that attune runs.")
    parser.add_argument("folder", type=Path, help="with model.pt and config.json")
    parser.add_argument("--out", type=Path, help=f"default: {MODEL_ONNX} in the folder")
    parser.add_argument("--weights", choices=("float32", "float16"), default="float32", help="float16 halves the file")
    parser.add_argument("--figures", type=Path, help="a JSON file of figures, to be kept with the model")
    parser.add_argument("--index", type=Path, help="what it was trained on; default: paths.index, if the folder is paths.harmonizer")
    chosen = parser.parse_args()
    with faults_as_lines("export"):
        export(chosen.folder, chosen.out or chosen.folder / MODEL_ONNX, chosen.weights, chosen.figures, index=chosen.index)


if __name__ == "__main__":
    main()
