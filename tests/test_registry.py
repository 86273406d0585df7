"""The registry: what a version holds and needs, who is champion, and what is told where something is missing."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch
from released_models import write_released_model
from shapes import shape_of
from test_dvc import imported_files

from attune.cli import main as attune
from attune.images import decode_image, encode_png
from attune.prediction import load_predictor
from attune.render import render_edit
from flows import registry
from flows.registry import CHALLENGER, CHAMPION, PREVIOUS, REQUIREMENTS, fetch_artifact, fetch_model, find_version, list_versions
from flows.tracking import open_store, tracked_execution
from models.harmonizer import build_harmonizer
from tasks.harmonizer_files import save_harmonizer

# --- Without MLflow ---------------------------------------------------------------------------------------------------------------------


def test_no_registry_is_told_and_none_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=rf"no registry: {project}/mlflow\.db does not exist.*make retrain"):
        fetch_model("champion")
    assert registry.find_champion() is None
    with pytest.raises(SystemExit):
        registry.main(["champion"])
    assert "yet: `make retrain` trains and promotes one" in capsys.readouterr().out
    assert list(project.iterdir()) == []


def test_the_pinned_requirements_are_what_the_served_code_imports(repository: Path) -> None:
    waiting, files = [repository / "flows/served_model.py"], set()
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += imported_files(file, repository)
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]  # type: ignore[union-attr]
        for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    owners = packages_distributions()
    needed = [{name.lower() for name in owners[root]} for root in roots - sys.stdlib_module_names - {"attune", "tasks", "models"}]
    assert all(names & set(REQUIREMENTS) for names in needed), needed
    assert set(REQUIREMENTS) <= set().union(*needed)
    assert all(pin.count("==") == 1 for pin in registry.pinned_requirements())


def test_the_example_is_a_composite_and_its_mask() -> None:
    example = registry.example_input()
    assert decode_image(example["composite"], name="composite").shape == (48, 64, 3)


# --- With it ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which versions 1, 2 (one that takes a plate) and 3 are registered; 1 is the champion."""
    folder = tmp_path_factory.mktemp("a registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("ATTUNE_PARENT_RUN", raising=False)
        for number, plate in enumerate((False, True, False), start=1):
            model_folder = folder / f"model{number}"
            config = shape_of(num_knots=4, grid=2, shading_limit=1.5, plate=plate)
            torch.manual_seed(number)
            model = build_harmonizer(config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))  # the untrained one changes nothing
            save_harmonizer(model_folder, model, config, {})
            write_released_model(model_folder, seed=number, plate=plate)
            with tracked_execution("retrain") as execution:
                tags = {"gate": "refused" if plate else "accepted"}
                assert registry.register_model(model_folder, execution.run_id, card=f"# Card {number}", tags=tags) == number
        registry.promote(1)
        yield folder


@pytest.fixture
def at_home(released: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project as the current folder, its aliases put back afterwards."""
    monkeypatch.chdir(released)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield released
    client, _ = open_store()
    client.set_registered_model_alias(registry.MODEL, CHAMPION, "1")
    client.set_registered_model_alias(registry.MODEL, CHALLENGER, "3")
    for number in ("1", "2", "3"):
        if PREVIOUS in find_version(number).tags:
            client.delete_model_version_tag(registry.MODEL, number, PREVIOUS)


def picture(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width // 2] = 255
    return rng.integers(0, 256, (height, width, 3), np.uint8), mask


# What somebody else does with a registered model: load it elsewhere, without this project, and ask it.
STRANGER = """
import json, sys
from pathlib import Path
import mlflow.pyfunc
import pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
rows = [{name: Path(sys.argv[2], f"{name}{number}.png").read_bytes() for name in ("composite", "mask", "plate")} for number in range(2)]
for number, data in enumerate(model.predict(pd.DataFrame(rows)).harmonized):
    Path(sys.argv[2], f"answer{number}.png").write_bytes(data)
import attune
print(json.dumps({"code": [attune.__file__], "torch": "torch" in sys.modules}))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestVersions:
    """Versions in a real MLflow store."""

    def test_a_stranger_loads_it_elsewhere_and_gets_our_answer_at_any_size(self, at_home: Path, tmp_path: Path) -> None:
        model = load_predictor(fetch_model("2"))
        expected = []
        for number, (height, width) in enumerate([(60, 33), (97, 210)]):
            composite, mask = picture(height, width, number)
            plate, _ = picture(height, width, 50 + number)
            for name, image in (("composite", composite), ("mask", mask), ("plate", plate)):
                (tmp_path / f"{name}{number}.png").write_bytes(encode_png(image))
            expected.append(render_edit(composite, mask, model.predict_edit(composite, mask, plate=plate)))
        uri = fetch_artifact(find_version("2"), "model")
        command = [sys.executable, "-I", "-c", STRANGER, str(uri), str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert all(Path(file).is_relative_to(uri) for file in found["code"]), "it runs on the code that it was registered with"
        assert not found["torch"]
        for number, answer in enumerate(expected):
            found = decode_image((tmp_path / f"answer{number}.png").read_bytes(), name="answer")
            assert np.array_equal(found, answer)

    def test_nothing_in_a_version_is_pickled_but_tensors(self, at_home: Path) -> None:
        folder = fetch_artifact(find_version("1"), "model")
        names = {path.name for path in folder.rglob("*") if path.is_file()}
        assert not {name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))}
        assert {name for name in names if name.endswith((".pt", ".pth", ".bin", ".onnx"))} == {"model.pt", "model.onnx"}
        torch.load(folder / registry.FOLDER / "model.pt", weights_only=True)
        described = (folder / "MLmodel").read_text()
        assert "loader_module: mlflow.pyfunc.loaders.code_model" in described
        for said in ('"name": "composite"', '"name": "plate", "required": false', '"name": "harmonized"', "input_example.json"):
            assert said in described.replace("\n    ", " ")
        assert (folder / "requirements.txt").read_text().split() == registry.pinned_requirements()

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"composite": b"GIF89a"}, "row 0, composite: not an image of a known format"),
            ({"mask": encode_png(np.zeros((9, 9), np.uint8))}, "row 0: composite"),
            ({"mask": encode_png(np.zeros((48, 64), np.uint8))}, "row 0: the mask holds no foreground"),
            ({"composite": b""}, "row 0, composite: no bytes"),
        ],
    )
    @pytest.mark.usefixtures("unguarded")
    def test_what_is_no_picture_is_refused_by_row_and_column(self, at_home: Path, row: dict[str, bytes], said: str) -> None:
        import mlflow
        import pandas as pd

        model = self._loaded()
        with pytest.raises(mlflow.exceptions.MlflowException, match=said) as refused:
            model.predict(None, pd.DataFrame([{**registry.example_input(), **row}]))
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"

    def test_too_much_at_once_is_refused(self, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import mlflow
        import pandas as pd

        from flows import served_model

        model = self._loaded()
        example = registry.example_input()
        with pytest.raises(mlflow.exceptions.MlflowException, match="65 rows in one request; at most 64"):
            model.predict(None, pd.DataFrame([example] * 65))
        monkeypatch.setattr(served_model, "MAX_FILE_BYTES", 100)
        with pytest.raises(mlflow.exceptions.MlflowException, match="bytes; at most 100"):
            model.predict(None, pd.DataFrame([example]))
        monkeypatch.setattr(served_model, "MAX_REQUEST_BYTES", 3 * sum(map(len, example.values())))
        with pytest.raises(mlflow.exceptions.MlflowException, match="bytes of images in one request; at most"):
            model.predict(None, pd.DataFrame([example] * 4))
        monkeypatch.undo()
        monkeypatch.setattr(served_model, "MAX_MEGAPIXELS", 0.001)
        with pytest.raises(mlflow.exceptions.MlflowException, match=r"row 0, composite: .*megapixels"):
            model.predict(None, pd.DataFrame([example]))

    @staticmethod
    def _loaded() -> object:
        from types import SimpleNamespace

        from flows.served_model import ServedHarmonizer

        model = ServedHarmonizer()
        model.load_context(SimpleNamespace(artifacts={"harmonizer": fetch_model("champion")}))
        return model

    def test_the_aliases_and_the_card_are_there(self, at_home: Path) -> None:
        assert {version.number: version.aliases for version in list_versions()} == {1: (CHAMPION,), 2: (), 3: (CHALLENGER,)}
        client, _ = open_store()
        assert client.get_model_version(registry.MODEL, "3").description == "# Card 3"
        assert find_version("3").tags["gate"] == "accepted"

    def test_a_title_goes_back_to_whom_it_was_taken_from(self, at_home: Path) -> None:
        assert registry.promote(2) == 1
        assert registry.promote(3) == 2
        assert registry.promote(3) == 3, "who has it keeps it"
        assert registry.rollback() == (3, 2)
        assert registry.rollback() == (2, 1)
        with pytest.raises(ValueError, match="version 1 is the first champion"):
            registry.rollback()
        assert registry.promote(3) == 1
        assert registry.rollback() == (3, 1)

    def test_a_promotion_that_was_cut_off_before_the_alias_moved_did_not_happen(self, at_home: Path) -> None:
        client, _ = open_store()
        client.set_model_version_tag(registry.MODEL, "3", PREVIOUS, "2")
        champion = registry.find_champion()
        assert champion is not None
        assert champion.number == 1
        registry.promote(3)
        assert registry.rollback() == (3, 1)

    def test_the_command_lists_promotes_and_rolls_back(self, at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        registry.main(["promote", "2"])
        registry.main(["list"])
        registry.main(["champion"])
        registry.main(["rollback"])
        said = capsys.readouterr().out
        assert "version 2 is the champion; it was 1; the gate had refused it" in said
        assert next(line.split("│")[1].strip() for line in said.splitlines() if "│ champion" in line) == "2"
        assert "version 2 is the champion\n" in said
        assert "version 1 is the champion again, in place of 2" in said
        with pytest.raises(SystemExit):
            registry.main(["promote", "9"])
        assert "no version '9' of attune" in capsys.readouterr().out

    def test_models_are_fetched_by_alias_and_number(self, at_home: Path) -> None:
        for reference, number in (("champion", 1), ("challenger", 3), ("2", 2)):
            folder = fetch_model(reference)
            assert (folder / "config.json").is_file()
            assert (folder / "model.pt").read_bytes() == (at_home / f"model{number}/model.pt").read_bytes()
        with pytest.raises(ValueError, match=r"no version 'best' .*there are: challenger, champion, 1, 2, 3"):
            fetch_model("best")

    def test_the_command_line_takes_aliases_and_numbers(self, at_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = [str(tmp_path / f"{name}.png") for name in ("composite", "mask")]
        for path, image in zip(files, picture(60, 90, 5), strict=True):
            Path(path).write_bytes(encode_png(image))

        def harmonized(model: str) -> bytes:
            out = tmp_path / f"{Path(model).name}.png"
            with pytest.raises(SystemExit) as ended:
                attune(["harmonize", *files, "-o", str(out), "--model", model])
            assert not ended.value.code, capsys.readouterr().err
            return out.read_bytes()

        first, third = (harmonized(str(at_home / f"model{number}")) for number in (1, 3))
        assert first != third
        assert harmonized("champion") == harmonized("1") == first
        assert harmonized("challenger") == harmonized("3") == third
        registry.promote(3)
        assert harmonized("champion") == third
        with pytest.raises(SystemExit):
            attune(["harmonize", *files, "-o", str(tmp_path / "none.png"), "--model", "best"])
        assert "no version 'best' of attune" in capsys.readouterr().err

    def test_files_that_are_gone_are_named(self, at_home: Path) -> None:
        folder = fetch_artifact(find_version("3"), "model")
        aside = folder.with_name("aside")
        shutil.move(folder, aside)
        try:
            with pytest.raises(ValueError, match=r"version 3 of attune .*model/artifacts/harmonizer"):
                fetch_model("3")
        finally:
            shutil.move(aside, folder)
