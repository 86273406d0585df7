"""An edit predicted by ONNX Runtime beside torch, the same weights: `python -m benchmarks.predict [folder]`.

With one thread and with two, for one picture and for sixteen at once; then how long each takes to be ready in a fresh process. folder: of a
trained harmonizer; without one an untrained network of the shape that params.yaml trains, which costs the same.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from attune.model_files import MODEL_ONNX, read_model
from attune.prediction import Predictor
from benchmarks.harness import Timings, begin_as_stages_do, close, measure, print_machine, print_table
from models.harmonizer import Harmonizer, ParametricHarmonizer, build_harmonizer
from tasks.export import edit_numbers, probe_pictures, release_harmonizer
from tasks.harmonizer_files import load_harmonizer, save_harmonizer
from tasks.params import load_params

TARGET = 1.5  # times faster than torch for one picture, one thread
BATCHES, THREADS = (1, 16), (1, 2)
READY = {
    "onnxruntime": "from pathlib import Path; from attune.prediction import load_predictor; load_predictor(Path(sys.argv[1]))",
    "torch": "from pathlib import Path; from tasks.harmonizer_files import load_harmonizer; load_harmonizer(Path(sys.argv[1]))",
}


def main(arguments: list[str]) -> None:
    """Print each combination's times, and close with the ratio for one picture and one thread."""
    print_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        untrained = load_params(Path("params.yaml")).train.model.config()
        model = load_harmonizer(Path(arguments[0]))[0] if arguments else build_harmonizer(untrained)
        if not isinstance(model, ParametricHarmonizer):
            raise SystemExit(f"architecture {model.config.architecture!r} predicts no edit")
        save_harmonizer(folder, model, model.config, {})
        difference = release_harmonizer(model.eval(), folder / MODEL_ONNX, {})
        print(f"{model.config.architecture}, {model.config.size} px: edits within {difference:.1g} of torch's")
        timings = {(threads, count): _timed(folder, model, threads, count) for threads in THREADS for count in BATCHES}
        for (threads, count), found in timings.items():
            print_table(f"{count} at once, {threads} thread{'s' * (threads > 1)}", found, reference="torch", units=count, unit="picture")
        _print_ready(folder)
        close("predict", timings[1, 1].ratio("onnxruntime", "torch"), TARGET)


def _timed(folder: Path, model: Harmonizer, threads: int, count: int) -> Timings:
    assert isinstance(model, ParametricHarmonizer)
    predictor = Predictor(read_model(folder), num_threads=threads)
    probes = probe_pictures(model.config.size, plate=model.config.plate)
    pictures = {name: np.concatenate([batch, batch])[:count] for name, batch in probes.items()}

    def by_torch() -> object:
        torch.set_num_threads(threads)
        return edit_numbers(model, pictures)

    return measure({"onnxruntime": lambda: predictor.run(pictures), "torch": by_torch})


def _print_ready(folder: Path) -> None:
    for name, code in READY.items():
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import sys; {code}", str(folder)], check=True)
            seconds.append(time.perf_counter() - began)
        print(f"{name}: a fresh process is ready in {min(seconds):.2f} s, best of {len(seconds)}")


if __name__ == "__main__":
    begin_as_stages_do("predict")
    main(sys.argv[1:])
