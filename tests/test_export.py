"""Witnesses of tasks.export: torch itself, equal bytes for equal models, half the bytes, and what is not released."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from shapes import shape_of

from attune.model_files import read_model
from attune.operators.curves import Curves
from attune.operators.shading import Shading
from attune.prediction import Predictor
from models.harmonizer import ParametricHarmonizer, build_harmonizer
from tasks import export
from tasks.export import probe_pictures, release_harmonizer
from tasks.harmonize import predict_edit


def eager_model(**changes: Any) -> ParametricHarmonizer:
    torch.manual_seed(0)
    model = build_harmonizer(shape_of(**{"num_knots": 16, "read_rim": True, **changes}))
    assert isinstance(model, ParametricHarmonizer)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".head." in name:
                tensor.normal_(0, 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """What the exporter makes of `eager_model`, once: it takes seconds."""
    return export.exported(eager_model())


@pytest.fixture
def made_once(graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export of models whose graph is known already."""

    def copied(model: ParametricHarmonizer) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        return copy

    monkeypatch.setattr(export, "exported", copied)


@pytest.mark.slow
@pytest.mark.usefixtures("made_once")
class TestReleased:
    """A small harmonizer that reads the rim, through the real exporter."""

    def test_it_predicts_what_torch_predicts_for_any_number_of_pictures(self, tmp_path: Path, photograph: Any, object_mask: Any) -> None:
        model = eager_model()
        assert release_harmonizer(model, tmp_path / "model.onnx", {"figures": {"val_fmse": 1.0}}) < 1e-5
        released = Predictor(read_model(tmp_path))
        assert released.file.about["figures"] == {"val_fmse": 1.0}
        probes = probe_pictures(32, plate=False)
        for count in (1, 3, 8):
            part = {name: pictures[:count] for name, pictures in probes.items()}
            for ours, theirs in zip(released.run(part), export.edit_numbers(model, part), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
        composite, mask = photograph(90, 120, 3), object_mask(90, 120)
        ours, theirs = released.predict_edit(composite, mask), predict_edit(model, composite, mask)
        np.testing.assert_allclose(ours.get(Curves).values, theirs.get(Curves).values, atol=1e-5)
        np.testing.assert_allclose(ours.get(Shading).logits, theirs.get(Shading).logits, atol=1e-5)

    def test_equal_models_give_equal_bytes_that_name_no_path_of_this_machine(self, tmp_path: Path, repository: Path) -> None:
        for name in ("a", "b"):
            release_harmonizer(eager_model(), tmp_path / name / "model.onnx", {})
        first, second = ((tmp_path / name / "model.onnx").read_bytes() for name in ("a", "b"))
        assert first == second
        assert (tmp_path / "a/model.json").read_bytes() == (tmp_path / "b/model.json").read_bytes()
        assert str(repository).encode() not in first

    def test_a_model_that_answers_otherwise_is_not_released(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = export.edit_numbers
        monkeypatch.setattr(export, "edit_numbers", lambda model, pictures: [numbers + 2e-4 for numbers in real(model, pictures)])
        (tmp_path / "model.json").write_text("stale")
        with pytest.raises(ValueError, match=r"its edits differ from torch's by up to 0.0002; at most 0.0001"):
            release_harmonizer(eager_model(), tmp_path / "model.onnx", {})
        assert list(tmp_path.glob("model.*")) == []


@pytest.mark.slow
def test_half_precision_stores_half_the_bytes_and_says_what_it_moved(tmp_path: Path, graph: onnx.ModelProto) -> None:
    model, path = eager_model(), tmp_path / "half.onnx"
    assert release_harmonizer(model, path, {}, weights="float16") < 1e-5
    large = sum(parameter.numel() for parameter in model.parameters() if parameter.numel() >= export.HALVED_FROM)
    assert len(graph.SerializeToString()) - path.stat().st_size > 1.8 * large
    about = json.loads((tmp_path / "half.json").read_text())["about"]
    assert 0 < about["largest_change_by_rounding"] < 0.02
    assert read_model(path).weights == "float16"


def test_an_architecture_without_an_edit_is_not_released(tmp_path: Path) -> None:
    pixel = build_harmonizer(shape_of("pixel"))
    with pytest.raises(ValueError, match="'pixel' predicts no edit"):
        release_harmonizer(pixel, tmp_path / "model.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_probes_are_always_the_same_and_hold_soft_and_hard_masks() -> None:
    first, second = probe_pictures(32, plate=True), probe_pictures(32, plate=True)
    assert list(first) == ["composite", "mask", "plate"]
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1 for picture in first.values())
    hard = [set(np.unique(mask)) <= {0, 1} for mask in first["mask"]]
    assert any(hard)
    assert not all(hard)
