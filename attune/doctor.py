"""Whether everything that the command line needs is there and works: a line per part."""

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from attune.chosen_model import ask_registry, choose_model
from attune.prediction import load_predictor

LEAST_PYTHON = (3, 11)
LEAST_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """What was found of one part."""

    part: str
    verdict: Literal["ok", "note", "FAIL"]  # note: something optional is missing
    said: str


def examine(model: str | None) -> Iterator[Finding]:
    """Look at each part in turn. model: as `--model`."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python, "runtime": _runtime, "kernel": _kernel, "formats": _formats, "model": lambda: _model(model),
        "registry": _registry, "disk": _disk,
    }
    for part, check in checks.items():
        try:
            yield check()
        except Exception as error:  # whatever is broken, the next part is looked at too
            yield Finding(part, "FAIL", " ".join(f"{type(error).__name__}: {error}".split()))


def _python() -> Finding:
    said = f"{platform.python_version()} in {sys.prefix}"
    return Finding("python", "ok" if sys.version_info >= LEAST_PYTHON else "FAIL", said)


def _runtime() -> Finding:
    import onnxruntime

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Finding("runtime", "ok", f"ONNX Runtime {version('onnxruntime')} ({providers})")


def _kernel() -> Finding:
    """Renders a known edit: a table that inverts, no shading."""
    import numpy as np

    from attune.operators.curves import Curves
    from attune.operators.operator import EditArrays
    from attune.render import render_edit
    from attune.render_kernel import COMPILED

    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    began = time.perf_counter()
    edit = EditArrays((Curves(np.tile([1.0, 0.0], (3, 1))),))
    right = np.array_equal(render_edit(ramp, np.full((1, 256), 255, np.uint8), edit), 255 - ramp)
    seconds = time.perf_counter() - began
    if not right:
        return Finding("kernel", "FAIL", "rendering gives wrong pixels")
    if not COMPILED:
        return Finding("kernel", "ok", "OpenCV renders; numba is not installed: its loops, compiled once, repay in long batches alone")
    return Finding("kernel", "ok", f"compiled by numba {version('numba')}, ready in {seconds:.1f} s")


def _formats() -> Finding:
    """Writes and reads each kind of file."""
    import numpy as np

    from attune.photo import SUFFIXES, Coding, Metadata, Photo
    from attune.photo_files import read_photo
    from attune.photo_writing import write_photo

    said = f"OpenCV {version('opencv-python-headless')}, Pillow {version('pillow')}: JPEG, PNG, TIFF, WebP, 16 bit"
    picture = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3) * 85
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            for pixels in (picture, (picture >> 8).astype(np.uint8)):
                path = Path(folder, f"picture{suffix}")
                write_photo(path, Photo(pixels, None, False, 1, Metadata(), Coding("PNG")))
                exact = suffix in (".png", ".tif", ".tiff") or (suffix == ".webp" and pixels.dtype == np.uint8)
                if exact and not np.array_equal(read_photo(path).pixels, pixels):
                    return Finding("formats", "FAIL", f"{suffix} comes back with other pixels")
    return Finding("formats", "ok", said)


def _model(reference: str | None) -> Finding:
    try:
        chosen = choose_model(reference)
        file = load_predictor(chosen.path).file
    except ValueError as error:
        return Finding("model", "FAIL", str(error))
    steps = ", ".join(step.name for step in file.operators)
    plate = ", takes a plate (--plate)" if file.plate else ""
    return Finding("model", "ok", f"{chosen.path}, {chosen.origin}: sees {file.size} px, predicts {steps}{plate}")


def _registry() -> Finding:
    try:
        return Finding("registry", "ok", ask_registry('champion'))
    except ValueError as error:
        return Finding("registry", "note", f"--model takes folders and files only ({error})")


def _disk() -> Finding:
    free = {str(folder): shutil.disk_usage(folder).free / 1e9 for folder in (Path.cwd(), Path(tempfile.gettempdir()))}
    said = ", ".join(f"{gigabytes:.0f} GB free in {folder}" for folder, gigabytes in free.items())
    return Finding("disk", "ok" if min(free.values()) >= LEAST_FREE_GB else "note", said)
