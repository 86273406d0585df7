"""Tiny synthetic photographs and params, for every test; nothing is read from outside the repository and the test's own folder."""

import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import type_guard
import yaml

type_guard.install()  # before anything that it checks is imported

from attune import unit_keys
from attune.images import encode_jpeg, encode_png
from tasks.params import Params

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """One thread each: the tests' processes share the cores already."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the most slow tests come first: at the end, one process would run the last of them alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs that `ATTUNE_DATA` names (by default ../shared/data); the test is skipped where there is none."""
    folder = Path(os.environ.get("ATTUNE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, as a project's root is for the stages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def configure() -> Callable[..., Params]:
    """`configure({"ingest.min_side": 16})`: the repository's params with some values replaced, validated."""
    text = (ROOT / "params.yaml").read_text()

    def configured(changes: dict[str, Any] | None = None) -> Params:
        values = yaml.safe_load(text)
        for key, value in (changes or {}).items():
            *sections, name = key.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[name] = value
        return Params.model_validate(values)

    return configured


def draw_photograph(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth, textured colour picture of mid tones, uint8 HWC."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(60, 190, (4, 4, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0.0, 6.0, (height, width, 3)), 0, 255).round().astype(np.uint8)


def draw_mask(height: int, width: int, share: float = 0.2) -> np.ndarray:
    """A centred rectangle of 255 that covers about `share` of the frame, uint8 HW."""
    mask = np.zeros((height, width), np.uint8)
    tall, wide = round(height * share**0.5), round(width * share**0.5)
    top, left = (height - tall) // 2, (width - wide) // 2
    mask[top:top + tall, left:left + wide] = 255
    return mask


@pytest.fixture(scope="session")
def photograph() -> Callable[[int, int, int], np.ndarray]:
    """`photograph(height, width, seed)`: a synthetic picture."""
    return draw_photograph


@pytest.fixture(scope="session")
def object_mask() -> Callable[..., np.ndarray]:
    """`object_mask(height, width, share=0.2)`: a rectangular mask."""
    return draw_mask


@pytest.fixture
def write_photos() -> Callable[..., Path]:
    """`write_photos(folder, count)`: `count` photographs `p00.jpg`... with one mask each, in the layout of the source photos."""

    def written(folder: Path, count: int, *, height: int = 64, width: int = 80) -> Path:
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        for number in range(count):
            (folder / "images" / f"p{number:02d}.jpg").write_bytes(encode_jpeg(draw_photograph(height, width, number), 92))
            (folder / "masks" / f"p{number:02d}.png").write_bytes(encode_png(draw_mask(height, width)))
        return folder

    return written


@pytest.fixture
def unguarded() -> Iterator[None]:
    """Types and shapes are not checked: for tests of how our own code refuses what a file or a user may hand over."""
    with type_guard.lifted():
        yield


@pytest.fixture
def edit_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`edit_code("models/lut.py")`: from here on the keys of kept work see this file, and no other, with a line added."""

    def edited(name: str) -> None:
        file = ROOT / name
        assert file.is_file()
        monkeypatch.setattr(unit_keys, "read_source", lambda path: path.read_bytes() + (b"\n# edited\n" if path == file else b""))
        forget_code()

    yield edited
    monkeypatch.undo()
    forget_code()


def forget_code() -> None:
    """Let the keys of kept work look at the code again."""
    for known in (unit_keys.code_digest, unit_keys.library_versions, unit_keys.imported_names, unit_keys.named_files):
        known.cache_clear()


COPIED = ("attune", "flows", "tasks", "models", "profiles", "dvc.yaml", "params.yaml", "pyproject.toml", ".dvc/config", ".dvcignore",
          ".gitignore", "data/raw/README.md", "data/domains/README.md", "data/metrics/findings/README.md")


@pytest.fixture(scope="session")
def copy_project() -> Callable[[Path, Path], Path]:
    """`copy_project(project, folder)`: a clone without history and without outputs, as a newcomer has it; the folder."""

    def copied(project: Path, folder: Path) -> Path:
        for name in COPIED:
            source, target = project / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        return folder

    return copied


# --- Colour profiles --------------------------------------------------------------------------------------------------------------------

D50 = (0.9642, 1.0, 0.8249)
COLORANTS = {
    "adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "p3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "prophoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
}


def _xyz(values: tuple[float, float, float]) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(value * 65536) for value in values))


def build_icc_profile(name: str) -> bytes:
    """A small ICC profile: 'adobe' (gamma 2.2), 'p3' (sRGB's tone), 'prophoto' (1.8), 'gamma_table', 'falling', 'grey' (1.8)."""
    parametric = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tables = {"gamma_table": np.linspace(0, 1, 1024) ** 2.0, "falling": np.linspace(1, 0, 16)}
    if name == "p3":
        tone = struct.pack(">4sIHH5i", b"para", 0, 3, 0, *(round(value * 65536) for value in parametric))
    elif name in tables:
        levels = np.rint(tables[name] * 65535).astype(">u2")
        tone = struct.pack(">4sII", b"curv", 0, len(levels)) + levels.tobytes()
    else:
        tone = struct.pack(">4sIIH", b"curv", 0, 1, 563 if name == "adobe" else round(1.8 * 256))
    if name == "grey":
        space, tags = b"GRAY", {b"wtpt": _xyz(D50), b"kTRC": tone}
    else:
        colorants = zip((b"rXYZ", b"gXYZ", b"bXYZ"), COLORANTS.get(name, COLORANTS["adobe"]), strict=True)
        space, tags = b"RGB ", {b"wtpt": _xyz(D50), b"rTRC": tone, b"gTRC": tone, b"bTRC": tone}
        tags |= {tag: _xyz(values) for tag, values in colorants}
    offset, index, body = 132 + 12 * len(tags), b"", b""
    for tag, payload in tags.items():
        padded = payload.ljust(-(-len(payload) // 4) * 4, b"\0")
        index += struct.pack(">4sII", tag, offset + len(body), len(payload))
        body += padded
    head = struct.pack(">I4sI4s4s4s12s4s", offset + len(body), b"", 0x02400000, b"mntr", space, b"XYZ ", b"", b"acsp")
    head = head.ljust(68, b"\0") + _xyz(D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


@pytest.fixture(scope="session")
def icc_profile() -> Callable[[str], bytes]:
    """`icc_profile("adobe")`: a colour profile by name."""
    return build_icc_profile
