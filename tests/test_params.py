"""params.yaml: every fault is told by key, value and limit; the schema holds no value of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tasks import params as schema
from tasks.params import Params, load_params


@pytest.fixture
def write_params(repository: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """`write_params(change)`: the repository's params.yaml, changed in place by `change`, in a file of the test's own."""

    def written(change: Callable[[dict[str, Any]], None]) -> Path:
        values = yaml.safe_load((repository / "params.yaml").read_text())
        change(values)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return written


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    for part in name.split("."):
        values = values[part]
    return values


def test_the_committed_params_are_valid(repository: Path) -> None:
    assert isinstance(load_params(repository / "params.yaml"), Params)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("train.optimizer", "lr", -1.0, ["train.optimizer.lr", "greater than 0", "-1.0"]),
        ("train.optimizer", "steps", "many", ["train.optimizer.steps", "integer", "many"]),
        ("ingest", "val_share", 1.5, ["ingest.val_share", "less than or equal to 1", "1.5"]),
        ("ingest", "sources", ["flickr"], ["ingest.sources.0", "starter", "flickr"]),
        ("train.model", "architecture", "huge", ["train.model", "'huge'", "paper, pixel, small"]),
        ("mine", "quotas", {"easy": 0.5, "medium": 0.5, "hard": 0.5}, ["mine.quotas", "must be 1, not 1.5"]),
        ("train", "num_processes", 5, ["train: data.batch_size 8 cannot be shared evenly by num_processes 5"]),
        ("augment", "size", 48, ["train.model.size (256)", "augment.size (48)", "must not be larger"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_limit(
    write_params: Callable[..., Path], section: str, key: str, value: Any, said: list[str]
) -> None:
    path = write_params(lambda values: _section(values, section).update({key: value}))
    with pytest.raises(ValueError, match=r"params\.yaml: ") as caught:
        load_params(path)
    for part in said:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_named(write_params: Callable[..., Path]) -> None:
    path = write_params(lambda values: values["train"].update({"learning_rate": 1.0}))
    with pytest.raises(ValueError, match=r"train\.learning_rate: Extra inputs are not permitted"):
        load_params(path)


def test_options_are_those_of_their_architecture(write_params: Callable[..., Path]) -> None:
    def said(change: Callable[[dict[str, Any]], object]) -> str:
        with pytest.raises(ValueError, match=r"params\.yaml: ") as caught:
            load_params(write_params(lambda values: change(values["train"]["model"]["options"])))
        return str(caught.value)

    assert "train.model.options.small.widht: Extra inputs are not permitted" in said(lambda options: options["small"].update(widht=8))
    assert "train.model.options.pixel.grid: Extra inputs are not permitted" in said(lambda options: options["pixel"].update(grid=8))
    assert "train.model.options.paper.grid: Field required" in said(lambda options: options["paper"].pop("grid"))
    assert "train.model.options.huge: Extra inputs" in said(lambda options: options.update(huge={}))
    assert "train.model.options.small.edit: Input should be 'both'" in said(lambda options: options["small"].update(edit="none"))
    assert "train.model: width is 12; it must be a multiple of 8" in said(lambda options: options["matched"].update(width=12))


def test_a_missing_key_is_named(write_params: Callable[..., Path]) -> None:
    path = write_params(lambda values: values["mine"].pop("size"))
    with pytest.raises(ValueError, match=r"mine\.size: Field required"):
        load_params(path)


def test_all_faults_are_told_at_once(write_params: Callable[..., Path]) -> None:
    path = write_params(lambda values: (values["train"]["optimizer"].update(lr=0), values["mine"].update(size=3)))
    with pytest.raises(ValueError, match=r"mine\.size.*; train\.optimizer\.lr"):
        load_params(path)


@pytest.mark.parametrize("text", ["seed: [1", "just a line", "", "- 1"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"params\.yaml: "):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file; run from the project's root"):
        load_params(tmp_path / "params.yaml")


def test_params_cannot_be_changed_after_loading(repository: Path) -> None:
    params = load_params(repository / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train.optimizer.lr = 1.0  # type: ignore[misc]


def test_the_schema_holds_no_defaults_and_follows_the_order_of_the_file(repository: Path) -> None:
    def check(model: type[BaseModel], values: dict[str, Any], name: str) -> None:
        assert list(model.model_fields) == list(values), f"{name}: params.yaml and its schema list keys in another order"
        for key, field in model.model_fields.items():
            assert field.is_required(), f"{name}{key} has a default: params.yaml is the only home of a value"
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                check(kind, values[key], f"{name}{key}.")

    check(Params, yaml.safe_load((repository / "params.yaml").read_text()), "")


def test_every_source_has_a_folder_or_is_the_starter() -> None:
    assert {*schema.source_names(with_folder=True), "starter"} == set(schema.source_names())


def test_a_folder_or_benchmark_of_no_source_is_named(write_params: Callable[..., Path]) -> None:
    path = write_params(lambda values: values["ingest"]["folders"].update(flickr="flickr"))
    with pytest.raises(ValueError, match=r"ingest\.folders\.flickr.*'flickr' is not known; there are photos, coco"):
        load_params(path)
    path = write_params(lambda values: values["evaluate"]["benchmarks"]["starter_photos"].update(source="flickr"))
    with pytest.raises(ValueError, match=r"evaluate\.benchmarks\.starter_photos\.source: .*'flickr' is not known; .*, looks"):
        load_params(path)


def test_every_line_of_params_that_holds_a_unit_says_it(repository: Path) -> None:
    lines = (repository / "params.yaml").read_text().splitlines()
    bare = [line for line in lines if line.lstrip().startswith(("size:", "max_side:", "min_side:", "scene_size:")) and "px" not in line]
    assert not bare
