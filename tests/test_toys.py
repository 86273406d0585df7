"""A toy of each kind that may be added: an architecture, an operator, a source and a metric, each here and registered by one line.

They go through ingestion, training, evaluation, the report, the tool's prediction and its export, by the stages' own work.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import short_chain
import torch
from torch import Tensor, nn

import attune
from attune.edit_export import EDIT, export_edit
from attune.edits import adjust_edit, edit_to_json, read_edit, write_edit
from attune.files import write_bytes
from attune.foreground import FOREGROUND_LEVEL
from attune.images import encode_png, read_image, read_mask
from attune.model_files import MODEL_ONNX
from attune.operators.operator import Operator, Window
from attune.operators.registry import OPERATORS
from attune.photo_writing import encode_png16
from attune.prediction import load_predictor
from attune.render import render_edit
from models.architectures import ARCHITECTURES
from models.color_matrix import ColorMatrix as TorchColorMatrix
from models.harmonizer import Edit, ParametricConfig, ParametricHarmonizer, build_harmonizer, known_inputs
from models.operators import TorchOperator
from tasks.augment import finish_augment, plan_augment, write_pair_shard
from tasks.evaluate import evaluate
from tasks.evaluation.measurements import SCORED, read_measurements
from tasks.evaluation.metric import Answer, Metric
from tasks.evaluation.metrics import METRICS
from tasks.export import release_harmonizer
from tasks.harmonize import edit_arrays, harmonize_image, predict_edit
from tasks.harmonizer_files import load_harmonizer, save_harmonizer
from tasks.index import read_index
from tasks.params import Params
from tasks.report import make_report
from tasks.sources.candidates import Candidates, PhotographCandidate
from tasks.sources.listing import safe_key, source_folder
from tasks.sources.registry import SOURCES
from tasks.sources.source import Source
from tasks.tensors import to_tensor, to_uint8
from tasks.train import train

# --- An operator: its form in the tool, and its form in torch -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Vignette(Operator):
    """Darkens towards the frame's corners."""

    name: ClassVar[str] = "vignette"
    is_pointwise: ClassVar[bool] = False

    amount: float

    @classmethod
    def from_numbers(cls, numbers: np.ndarray, settings: Mapping[str, Any]) -> "Vignette":
        return cls(float(numbers[0]) * settings["most"])

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str) -> "Vignette":
        if set(value) != {"amount"}:
            raise ValueError(f"{name}: a vignette holds an amount")
        return cls(float(value["amount"]))

    def to_json(self) -> dict[str, Any]:
        return {"amount": self.amount}

    def scaled(self, strength: float) -> "Vignette":
        return Vignette(self.amount * strength)

    def gains(self, height: int, width: int) -> np.ndarray:
        down, across = (np.linspace(-1, 1, side) for side in (height, width))
        return np.asarray(1 - self.amount * (down[:, None] ** 2 + across**2) / 2)

    def apply(self, pixels: np.ndarray, window: Window) -> np.ndarray:
        return np.asarray(pixels * self.gains(window.height, window.width)[window.rows, window.columns, None], pixels.dtype)

    def describe(self) -> str:
        return f"a vignette takes {self.amount:.0%} off the corners"

    def export(self, folder: Path, height: int, width: int) -> tuple[dict[str, str], dict[str, Any]]:
        write_bytes(folder / "vignette.png", encode_png16(np.rint(self.gains(height, width) * 65535).astype(np.uint16)))
        return {"vignette.png": "the vignette"}, {"vignette_map": "vignette.png"}


@dataclass(frozen=True)
class TorchVignette(TorchOperator):
    name: ClassVar[str] = "vignette"
    is_pointwise: ClassVar[bool] = False

    most: float = 0.8

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def identity(self, like: Tensor) -> Tensor:
        return like.new_zeros(1, 1)

    def apply(self, image: Tensor, numbers: Tensor) -> Tensor:
        down, across = (torch.linspace(-1, 1, side) for side in image.shape[-2:])
        return image * (1 - self.most * numbers[..., None, None] * (down[:, None] ** 2 + across**2) / 2)

    def settings(self) -> dict[str, Any]:
        return {"most": self.most}


# --- An architecture ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToyConfig(ParametricConfig):
    """A harmonizer that knows the picture's mean colour and predicts a matrix and a vignette."""

    architecture: ClassVar[str] = "toy"

    width: int

    @property
    def operators(self) -> tuple[TorchOperator, ...]:
        return TorchColorMatrix(), TorchVignette()

    def build(self) -> "Toy":
        return Toy(self)


class Toy(ParametricHarmonizer):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.net = nn.Sequential(nn.Linear(6, config.width), nn.SiLU(), nn.Linear(config.width, 13))

    def predict(self, composite: Tensor, mask: Tensor, plate: Tensor | None = None) -> Edit:
        image, region = (self.squash(one) for one in known_inputs(self.config, composite, mask, plate))
        means = [(image * part).mean(dim=(2, 3)) for part in (region, 1 - region)]
        numbers = self.net(torch.cat(means, dim=1)).float()
        matrix = self.config.operators[0].identity(numbers) + 0.1 * numbers[:, :12].view(-1, 3, 4)
        return Edit({"color_matrix": matrix, "vignette": numbers[:, 12:].sigmoid()})


# --- A source -----------------------------------------------------------------------------------------------------------------------------

LAYOUT = "<split>_<name>.png with <split>_<name>_mask.png"


def list_toys(params: Params) -> Candidates:
    """Photographs whose names begin with their split."""
    folder = source_folder(params, "toys", LAYOUT)
    return Candidates(photographs=tuple(
        PhotographCandidate(
            key=safe_key("toys", image.stem), source="toys", subset="toys", split=image.stem.split("_")[0], group=f"toys/{image.stem}",
            image_path=image.as_posix(), mask_path=image.with_name(f"{image.stem}_mask.png").as_posix(), label="toy", licence="",
        )
        for image in sorted(folder.glob("*.png")) if not image.stem.endswith("_mask")
    ))


# --- A metric -----------------------------------------------------------------------------------------------------------------------------


def worst_pixel(answer: Answer) -> float:
    """The largest difference of a foreground's value, in grey levels."""
    apart = np.abs(answer.prediction.astype(float) - answer.target)
    return float(apart[answer.mask >= FOREGROUND_LEVEL].max())


# --- All of them --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four, registered."""
    monkeypatch.setitem(OPERATORS, "vignette", Vignette)
    monkeypatch.setitem(ARCHITECTURES, "toy", ToyConfig)
    monkeypatch.setitem(SOURCES, "toys", Source(list_toys, LAYOUT))
    monkeypatch.setitem(METRICS, "worst", Metric("worst pixel, levels", 1, worst_pixel))


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    mask = np.zeros((37, 600), np.uint8)
    mask[5:30, 20:500] = rng.integers(0, 256, (25, 480))
    return rng.integers(0, 256, (37, 600, 3), dtype=np.uint8), mask


@pytest.mark.usefixtures("toys")
def test_a_toy_architecture_with_a_toy_operator_is_saved_predicts_renders_and_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    toy = build_harmonizer(ToyConfig(size=32, plate=False, width=8)).eval()
    save_harmonizer(tmp_path / "model", toy, toy.config, {})
    model, _ = load_harmonizer(tmp_path / "model")
    assert isinstance(model, Toy)
    image, mask = example()
    with torch.inference_mode():
        rendered = to_uint8(model(to_tensor(image), to_tensor(mask)).harmonized)[0].astype(int)
        own = edit_arrays(model.predict(to_tensor(image), to_tensor(mask)), model.config)
    assert np.abs(render_edit(image, mask, own) - rendered).max() <= 1, "the two forms differ"
    assert np.array_equal(harmonize_image(model, image, mask), render_edit(image, mask, predict_edit(model, image, mask)))
    write_edit(tmp_path / "edit.json", own)
    assert edit_to_json(read_edit(tmp_path / "edit.json")) == edit_to_json(own)
    assert np.abs(render_edit(image, mask, adjust_edit(own, 0.0)).astype(int) - image).max() == 0
    assert "vignette.png" in export_edit(tmp_path / "out", own, 20, 30).files
    assert json.loads((tmp_path / "out" / EDIT).read_text())["vignette_map"] == "vignette.png"
    assert [step.describe() for step in own.steps][1].startswith("a vignette takes")


def toy_params(configure: Callable[..., Params]) -> Params:
    values = {
        "ingest.sources": ["toys"], "ingest.folders": {"toys": "toys"}, "ingest.min_side": 16, "speed.num_workers": 1,
        "ingest.synthesis.composites_per_object": 2, "ingest.synthesis.composites_per_test_object": 1, "ingest.synthesis.max_side": 64,
        "augment.copies": 0, "augment.draws": 1, "augment.harmonizer": None, "augment.size": 32,
        "train.start_from": "none", "train.model": {"architecture": "toy", "size": 32, "options": {"toy": {"width": 8}}},
        "train.data.augmentation": "none", "train.data.drawn.share": 0.0, "train.data.batch_size": 4,
        "train.data.stream_weights": dict.fromkeys(("original", "retouched", "augmented", "photograph"), 0.0),
        "train.adversary.share": 0.0, "train.optimizer.steps": 6, "train.val_every": 3, "train.sheet_every": 0, "train.threads": 1,
        "evaluate.benchmarks": {"toys": {"source": "toys", "subset": "*", "size": 48, "resize": "pillow_bilinear"}},
        "evaluate.competitors": {}, "evaluate.champion": None, "evaluate.sheet_rows": 2, "evaluate.eye_composites": 1,
    }
    return configure(values)


def write_toys(folder: Path, photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for number in range(12):
        stem = f"{('train', 'train', 'train', 'val', 'test', 'test')[number % 6]}_{number}"
        (folder / f"{stem}.png").write_bytes(encode_png(photograph(64, 80, number)))
        (folder / f"{stem}_mask.png").write_bytes(encode_png(object_mask(64, 80)))


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_four_toys_go_through_the_whole_chain(
    project: Path, configure: Callable[..., Params], photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray],
) -> None:
    params = toy_params(configure)
    write_toys(params.paths.raw / "toys", photograph, object_mask)
    short_chain.ingest(params)
    pairs = {split: read_index(params.paths.index, "pairs", split=split) for split in ("train", "val", "test")}
    assert all(pairs.values())
    assert {row["source"].split("/")[0] for row in pairs["test"]} == {"toys"}

    finish_augment(params, [write_pair_shard(params, unit) for unit in plan_augment(params)])
    train(params, lambda metrics, step: None, lambda done, total: None)
    model, _ = load_harmonizer(params.paths.harmonizer)
    assert isinstance(model, Toy)

    summary = evaluate(params, lambda done, total: None)["toys"]
    table = read_measurements(params.paths.measures / SCORED).to_pylist()
    values = [row["worst"] for row in table if (row["method"], row["flavour"]) == ("harmonized", "raw")]
    assert summary["harmonized"]["worst"] == pytest.approx(np.mean(values), rel=1e-5)
    assert 0 < min(values) <= max(values) <= 255
    make_report(params)
    page, tables = ((params.paths.report / name).read_text() for name in ("index.html", "summary.md"))
    assert "worst pixel, levels" in page
    assert "worst pixel, levels" in tables
    assert "a vignette takes" in page

    release_harmonizer(model, params.paths.harmonizer / MODEL_ONNX, {})
    row = pairs["test"][0]
    image, mask = read_image(Path(row["composite_path"])), read_mask(Path(row["mask_path"]))
    edit = load_predictor(params.paths.harmonizer / MODEL_ONNX).predict_edit(image, mask)
    assert [step.name for step in edit.steps] == ["color_matrix", "vignette"]
    assert np.abs(render_edit(image, mask, edit).astype(int) - harmonize_image(model, image, mask)).max() <= 1
    by_api = attune.apply(attune.load(params.paths.harmonizer).predict(image, mask), image, mask)
    assert np.abs(by_api.astype(int) - render_edit(image, mask, edit)).max() <= 1
    assert "vignette.png" in export_edit(project / "out", edit, *mask.shape).files
