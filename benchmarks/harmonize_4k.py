"""`attune harmonize` on a 4K JPEG beside bare decoding and encoding of the same file: `python -m benchmarks.harmonize_4k [model]`.

Warm: the command called again in one process, with files read and written whole; the bare form encodes with the file's own quality and
subsampling, as the command does. Then what the command costs from a shell, and the peak memory of an 8K file. model: a folder; without one
an untrained network of the shape that params.yaml trains, which costs the same.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from attune.model_files import MODEL_ONNX
from benchmarks.harness import begin_as_stages_do, close, measure, print_machine, print_table
from models.harmonizer import build_harmonizer
from tasks.export import release_harmonizer
from tasks.params import load_params

TARGET = 1 / 1.3  # decode + encode / ours
QUALITY = 95
CODING = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]  # of every file here
SIZES = {"tiny": (64, 96), "4k": (2160, 3840), "8k": (4320, 7680)}
COMMAND = "from attune.cli import main; main()"
# Not by getrusage: a child begins with its parent's peak there.
PEAK = (
    "import sys\ntry:\n    {}\nfinally:\n"
    "    print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
)


def main(arguments: list[str]) -> None:
    """Print times warm and cold and the peak memory, and close with how near bare decoding and encoding it comes."""
    print_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = Path(arguments[0]) if arguments else _untrained(folder / "model")
        for size in SIZES:
            _write_scene(folder, size)
        composite, call = folder / "4k.jpg", _call(folder, "4k", model)
        bits = composite.stat().st_size * 8 / np.prod(SIZES["4k"])
        timings = measure({"harmonize": lambda: _run(call), "decode + encode": lambda: _bare(composite)}, num_rounds=9)
        print_table(f"4K JPEG, {bits:.1f} bit per px", timings, reference="decode + encode", unit="file")
        _print_cold(folder, model)
        _print_peaks(folder, model)
        close("harmonize_4k", timings.ratio("harmonize", "decode + encode"), TARGET)


def _run(call: list[str]) -> None:
    from attune.cli import main as attune

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        attune(call)


def _bare(composite: Path) -> bytes:
    pixels = simplejpeg.decode_jpeg(composite.read_bytes(), colorspace="BGR")
    return cv2.imencode(".jpg", pixels, CODING)[1].tobytes()


def _call(folder: Path, size: str, model: Path) -> list[str]:
    files = [str(folder / name) for name in (f"{size}.jpg", f"{size}.png", f"{size}_out.jpg")]
    return ["harmonize", *files[:2], "--out", files[2], "--model", str(model)]


def _print_cold(folder: Path, model: Path) -> None:
    calls = {"attune --help": ["--help"], "attune harmonize, 4K": _call(folder, "4k", model)}
    for name, call in calls.items():
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", COMMAND, *call], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        print(f"{name}: {min(seconds):.2f} s from a shell, best of {len(seconds)}")


def _print_peaks(folder: Path, model: Path) -> None:
    """Of a process that harmonizes an 8K file, of one that only decodes and encodes it, and of one that harmonizes a tiny file.

    Beside what a tiny one costs, which is ONNX Runtime, numba and the model, the 8K file needs its pixels, its mask and its bytes, twice.
    """
    bare = "from pathlib import Path; from benchmarks.harmonize_4k import _bare; _bare(Path(sys.argv[1]))"
    calls = {"harmonize": (COMMAND, _call(folder, "8k", model)), "decode + encode": (bare, [str(folder / "8k.jpg")])}
    calls["harmonize a tiny one"] = (COMMAND, _call(folder, "tiny", model))
    peaks = {}
    for name, (code, call) in calls.items():
        done = subprocess.run([sys.executable, "-c", PEAK.format(code), *call], check=True, capture_output=True, text=True)
        peaks[name] = int(done.stderr.split()[-1]) / 1024
    mask, file = np.prod(SIZES["8k"]) / 2**20, (folder / "8k.jpg").stat().st_size / 2**20
    floor = peaks["harmonize a tiny one"] + 4 * mask + 2 * file
    print("8K peak memory, MiB: " + ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()))
    print(f"of which picture {3 * mask:.0f}, mask {mask:.0f}, encoded file {file:.0f} twice: at least {floor:.0f}")


def _write_scene(folder: Path, size: str) -> None:
    """A smooth picture with fine grain, as a JPEG, and a soft elliptic mask over 21 % of it, as a PNG."""
    height, width = SIZES[size]
    rng = np.random.default_rng(7)
    coarse = rng.integers(30, 226, (height // 16, width // 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(-9, 10, (height // 2, width // 2, 1)).repeat(2, axis=0).repeat(2, axis=1)
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.26), int(height * 0.26)), 20, 0, 360, 255, -1)
    cv2.imwrite(str(folder / f"{size}.jpg"), image, CODING)
    cv2.imwrite(str(folder / f"{size}.png"), cv2.GaussianBlur(mask, (0, 0), 2))


def _untrained(folder: Path) -> Path:
    config = load_params(Path("params.yaml")).train.model.config()
    release_harmonizer(build_harmonizer(config), folder / MODEL_ONNX, {})
    return folder


if __name__ == "__main__":
    begin_as_stages_do("harmonize_4k")
    main(sys.argv[1:])
