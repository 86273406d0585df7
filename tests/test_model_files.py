"""Witnesses of attune.model_files and attune.prediction: what is read, what is refused in one line, and what runs."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from released_models import GRID, KNOTS, read_graph, write_released_model

from attune import model_files
from attune.model_files import read_model
from attune.operators.curves import Curves
from attune.operators.shading import Shading
from attune.prediction import Predictor, load_predictor, network_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_released_model(tmp_path / "model", about={"training_data": [{"source": "photos", "licences": ["CC0"]}]})


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "model.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_what_was_written_is_read(folder: Path) -> None:
    found = read_model(folder)
    assert (found.size, found.plate, found.opset, found.weights) == (32, False, 18, "float32")
    assert [(step.name, step.shape) for step in found.operators] == [("curves", (3, KNOTS)), ("shading", (GRID, GRID))]
    assert found.about["training_data"][0]["licences"] == ["CC0"]
    before = (folder / "model.json").read_bytes()
    model_files.write_model(found, (folder / "model.onnx").read_bytes())
    assert (folder / "model.json").read_bytes() == before


def test_the_model_in_the_package_says_of_what_it_was_made_and_how_good_it_is(repository: Path) -> None:
    embedded, weights = repository / "attune/weights/default.onnx", repository / "weights/harmonizer"
    if not (embedded.is_file() and weights.is_dir()):
        pytest.skip("this checkout holds no weights")
    about = read_model(embedded).about
    assert about["architecture"] == json.loads((weights / "config.json").read_text())["config"]
    assert about["lineage"]["weights, SHA-256"] == hashlib.sha256((weights / "model.pt").read_bytes()).hexdigest()
    assert len(about["lineage"]["git commit"]) == 40
    assert sum(entry["photographs"] for entry in about["training_data"]) > 0
    assert all(entry["licences"] for entry in about["training_data"])
    assert about["figures"]


def test_an_edit_is_predicted_from_pictures_of_any_size_and_depth(folder: Path, photograph: Any, object_mask: Any) -> None:
    model = load_predictor(folder)
    composite, mask = photograph(90, 120, 3), object_mask(90, 120)
    edit = model.predict_edit(composite, mask)
    deep = model.predict_edit(composite.astype(np.uint16) * 257, mask.astype(np.uint16) * 257)
    assert (edit.get(Curves).values.shape, edit.get(Shading).logits.shape, edit.get(Shading).limit) == ((3, KNOTS), (GRID, GRID), 1.6)
    np.testing.assert_allclose(deep.get(Curves).values, edit.get(Curves).values, atol=1e-5)
    inputs = network_inputs(composite, mask, None, 32, takes_plate=False)
    batch = model.run({name: np.concatenate([value, value * np.float32(0.5)]) for name, value in inputs.items()})
    np.testing.assert_allclose(batch[0][0], edit.get(Curves).values, atol=1e-6)
    assert batch[0].shape == (2, 3, KNOTS)
    assert load_predictor(folder) is model


def test_threads_share_a_model(folder: Path, photograph: Any, object_mask: Any) -> None:
    model, found = load_predictor(folder), list[np.ndarray]()
    work = [threading.Thread(target=lambda: found.append(model.predict_edit(photograph(60, 80, 1), object_mask(60, 80)).get(Curves).values))
            for _ in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert all(np.array_equal(curves, found[0]) for curves in found)
    assert len(found) == 8


@pytest.mark.parametrize(("edit", "said"), [
    (lambda value: value.update(format="picture"), "not a model of attune"),
    (lambda value: value.update(version=2), "a model of version 2; this program reads version 1"),
    (lambda value: value["onnx"].update(opset=99), "its opset is 99; this program runs 17 to 22"),
    (lambda value: value["onnx"].update(bytes=7), "bytes where 7 are named"),
    (lambda value: value["onnx"].update(bytes=1 << 40), "onnx.bytes is 1099511627776; it must be a whole number from 1 to 536870912"),
    (lambda value: value["onnx"].update(sha256="0" * 64), "damaged, or of another model"),
    (lambda value: value["input"].update(size=10**6), "input.size is 1000000"),
    (lambda value: value["input"].update(size=64), "where its JSON says"),
    (lambda value: value["input"].update(resize="lanczos"), "made small by 'lanczos'"),
    (lambda value: value["input"].update(names=["mask"]), "its inputs are mask"),
    (lambda value: value["operators"][0].update(name="vortex"), "vortex"),
    (lambda value: value["operators"][0].update(shape=[3, 9]), "where its JSON says"),
    (lambda value: value["operators"].reverse(), "shading, curves"),
    (lambda value: value["operators"].clear(), "there must be 1 to 16"),
    (lambda value: value["operators"][1]["settings"].update(mode="glow"), "glow"),
    (lambda value: value["operators"][1]["settings"].update(limit="much"), "much"),
    (lambda value: value.pop("operators"), "damaged"),
])
def test_a_file_that_is_no_model_of_ours_is_one_clear_line(
    folder: Path, photograph: Any, object_mask: Any, edit: Callable[[dict[str, Any]], Any], said: str
) -> None:
    change(folder, edit)
    with pytest.raises(ValueError, match="model") as refused:
        Predictor(read_model(folder)).predict_edit(photograph(60, 80, 1), object_mask(60, 80))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_missing_damaged_or_too_large_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"nowhere: no such model"):
        read_model(folder / "nowhere")
    with pytest.raises(ValueError, match=r"no model\.json in it"):
        read_model(folder.parent)
    monkeypatch.setattr(model_files, "MAX_JSON_BYTES", 100)
    with pytest.raises(ValueError, match=r"bytes; a model's JSON has at most 100"):
        read_model(folder)
    monkeypatch.undo()
    (folder / "model.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not JSON"):
        read_model(folder)
    (folder / "model.json").unlink()
    with pytest.raises(ValueError, match=r"no model\.json beside it"):
        read_model(folder / "model.onnx")


def test_a_graph_with_unknown_operations_is_refused(folder: Path) -> None:
    graph = read_graph(folder)
    graph.graph.node.append(helper.make_node("Summon", ["curves"], ["ghost"], domain="com.example"))
    data = graph.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    change(folder, lambda value: value["onnx"].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))
    with pytest.raises(ValueError, match="no ONNX model that can be run"):
        load_predictor(folder)
