"""Witnesses of tasks.evaluation.findings: what is written is read, and what is not a finding is refused by file and key."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.findings import Estimate, Finding, read_findings, write_finding

FINDING = Finding(
    section="ablations and claims", title="Do shadows help?", note="Three seeds each.", measure="fMSE, squared grey levels", better="lower",
    estimates=(Estimate("curves", 900.0, 880.0, 920.0, count=3, group="all"), Estimate("curves and shading", 850.5)),
    command="make ablation",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_findings(tmp_path) == {}
    for name in ("shading", "augmentation"):
        assert write_finding(tmp_path, name, FINDING).is_file()
    (tmp_path / "findings" / "README.md").write_text("not a finding")
    assert read_findings(tmp_path) == {"augmentation": FINDING, "shading": FINDING}
    assert list(read_findings(tmp_path)) == ["augmentation", "shading"]


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20), st.integers(0, 2**40))
def test_any_finite_estimate_survives_the_file(tmp_path_factory: pytest.TempPathFactory, value: float, name: str, count: int) -> None:
    folder = tmp_path_factory.mktemp("findings")
    finding = Finding("without ground truth", name, "", "", "neither", (Estimate(name, value, value, value, count),))
    write_finding(folder, "one", finding)
    assert read_findings(folder)["one"] == finding


@pytest.mark.parametrize(("change", "words"), [
    ({"section": "elsewhere"}, "section"), ({"better": "best"}, "better"), ({"estimates": []}, "at least one estimate"),
    ({"estimates": [{"name": "a"}]}, r"estimates\.0\.value"), ({"estimates": [{"name": "a", "value": 1, "low": 0}]}, "belong together"),
    ({"estimates": [{"name": "a", "value": 1, "low": 2, "high": 1}]}, "above high"), ({"title": None}, "title"),
    ({"axis": "photographs"}, "every estimate stands at a place"), ({"estimates": [{"name": "a", "value": 1, "at": 3}]}, "elsewhere none"),
    ({"estimates": [{"name": "a", "value": 1, "at": 0}], "axis": "x"}, "axes are logarithmic"),
    ({"titel": "a"}, "titel"), ({"estimates": [{"name": "a", "value": 1, "lo": 0}]}, "lo: "),
])
def test_what_is_not_a_finding_is_refused_by_file_and_key(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = write_finding(tmp_path, "shading", FINDING)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"shading\.json: .*{words}"):
        read_findings(tmp_path)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Estimate("a", float("nan"))
