"""Witnesses of attune.edits: the ends of a strength, the walk between, hand-drawn curves, and JSON to the last bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import edit_of

from attune.edits import adjust_edit, edit_from_json, edit_to_json, grey_edit, parse_points, read_edit, write_edit
from attune.operators.curves import CHANNELS, Curves, curve_tables
from attune.operators.operator import LUMA, EditArrays
from attune.operators.shading import Shading
from attune.render import render_edit


def random_edit(*, seed: int = 0, knots: int = 16, shading: str = "symmetric", limit: float = 1.6) -> EditArrays:
    rng = np.random.default_rng(seed)
    curves = np.clip(np.linspace(0, 1, knots) ** rng.uniform(0.6, 1.6, (3, 1)), 0, 1)
    return edit_of(curves, rng.normal(0, 2.0, (4, 4)), shading, limit)  # type: ignore[arg-type]


EDITS = [random_edit(), random_edit(shading="darken", limit=0.6)]


@pytest.mark.parametrize("edit", EDITS)
def test_strength_0_changes_no_pixel_and_strength_1_is_the_edit_itself(edit: EditArrays) -> None:
    rng = np.random.default_rng(1)
    image, mask = rng.integers(0, 65536, (30, 40, 3)).astype(np.uint16), rng.integers(0, 256, (30, 40)).astype(np.uint8)
    assert np.array_equal(render_edit(image, mask, adjust_edit(edit, 0.0)), image)
    assert adjust_edit(edit, 1.0) is edit


@settings(max_examples=30, deadline=None)
@given(first=st.floats(0, 1.9), step=st.floats(0.01, 0.1), seed=st.integers(0, 20))
def test_a_stronger_edit_goes_farther_everywhere_and_never_back(first: float, step: float, seed: int) -> None:
    edit, identity = random_edit(seed=seed), np.linspace(0, 1, 16)
    weak, strong = adjust_edit(edit, first), adjust_edit(edit, first + step)
    assert (np.abs(strong.get(Curves).values - identity) >= np.abs(weak.get(Curves).values - identity) - 1e-12).all()
    gains = [np.abs(np.log(one.get(Shading).gains(9, 9))) for one in (weak, strong)]
    assert (gains[1] >= gains[0] - 1e-12).all()


def test_half_the_strength_is_half_the_stops() -> None:
    for strength in (0.5, 1.5):
        gains = adjust_edit(EDITS[0], strength).get(Shading).gains(20, 30)
        assert gains == pytest.approx(EDITS[0].get(Shading).gains(20, 30) ** strength, rel=1e-12)
        darker = adjust_edit(EDITS[1], strength).get(Shading).gains(20, 30)
        assert 1 - darker == pytest.approx(strength * (1 - EDITS[1].get(Shading).gains(20, 30)), rel=1e-9)


def test_shading_and_curves_are_overridden_apart() -> None:
    edit = EDITS[0]
    plain = adjust_edit(edit, shading=0.0)
    assert np.array_equal(plain.get(Curves).values, edit.get(Curves).values)
    assert (plain.get(Shading).gains(8, 8) == 1).all()
    drawn = adjust_edit(edit, 0.5, curves={"green": ((0, 10), (100, 140), (255, 250))})
    tables, before = curve_tables(drawn.get(Curves).values, 256), curve_tables(adjust_edit(edit, 0.5).get(Curves).values, 256)
    assert tables[[0, 2]] == pytest.approx(before[[0, 2]], abs=1e-9)
    assert tables[1] == pytest.approx(np.interp(np.arange(256), [0, 100, 255], [10, 140, 250]), abs=1e-9)


def test_a_curve_drawn_beside_32_knots_cuts_no_corner() -> None:
    edit = random_edit(knots=32)
    drawn = curve_tables(adjust_edit(edit, curves={"red": ((3, 200), (4, 0))}).get(Curves).values, 256)
    assert drawn[0, :4] == pytest.approx(200)
    assert drawn[0, 4:] == pytest.approx(0, abs=1e-9)
    assert drawn[1:] == pytest.approx(curve_tables(edit.get(Curves).values, 256)[1:], abs=1e-9)


def test_a_grey_pictures_edit_moves_luma_as_the_colour_edit_would() -> None:
    grey = grey_edit(EDITS[0])
    assert grey.get(Curves).values[0] == pytest.approx(LUMA @ EDITS[0].get(Curves).values)
    assert grey_edit(grey) is grey


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), knots=st.integers(2, 40), strength=st.floats(0, 2))
def test_json_keeps_every_bit(seed: int, knots: int, strength: float) -> None:
    edit = adjust_edit(random_edit(seed=seed, knots=knots), strength)
    found = edit_from_json(json.loads(json.dumps(edit_to_json(edit))), name="edit")
    assert np.array_equal(found.get(Curves).values, edit.get(Curves).values)
    assert np.array_equal(found.get(Shading).logits, edit.get(Shading).logits)
    assert (found.get(Shading).mode, found.get(Shading).limit) == (edit.get(Shading).mode, edit.get(Shading).limit)


def test_an_edit_survives_a_file(tmp_path: Path) -> None:
    write_edit(tmp_path / "a.json", EDITS[1])
    write_edit(tmp_path / "b.json", read_edit(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


BROKEN = {
    "an edit": lambda value: [1],
    "version 7": lambda value: value | {"version": 7},
    '"curves" must hold red, green, blue': lambda value: value | {"curves": {"red": [0, 1]}},
    "curves.red must be a list": lambda value: value | {"curves": value["curves"] | {"red": "0 1"}},
    "differ in length": lambda value: value | {"curves": value["curves"] | {"red": [0.0, 1.0]}},
    "must stay in": lambda value: value | {"curves": {channel: [0.0, 7.0] for channel in CHANNELS}},
    '"shading" must hold': lambda value: value | {"shading": {}},
    "shading.mode is 'glow'": lambda value: value | {"shading": value["shading"] | {"mode": "glow"}},
    "shading.limit is nan": lambda value: value | {"shading": value["shading"] | {"limit": float("nan")}},
    "shading.logits must be": lambda value: value | {"shading": value["shading"] | {"logits": []}},
    "not all finite": lambda value: value | {"shading": value["shading"] | {"logits": [[float("inf")]]}},
    "too large": lambda value: value | {"shading": value["shading"] | {"logits": [[10**400]]}},
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_edit_is_named(said: str) -> None:
    first, second = EDITS[0].steps
    former = {"format": "attune edit", "version": 1, "curves": first.to_json(), "shading": second.to_json()}
    broken: Any = BROKEN[said](former)  # type: ignore[no-untyped-call]
    versions = [broken]
    if isinstance(broken, dict) and broken["version"] == 1:
        operators = [{"name": name, **broken[name]} for name in ("curves", "shading")]
        versions.append({"format": "attune edit", "version": 2, "operators": operators})
    for value in versions:
        _is_named(value, said)


def _is_named(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"^edit\.json: ") as caught:
        edit_from_json(value, name="edit.json")
    assert said in str(caught.value)


def test_files_that_hold_no_edit_are_named(tmp_path: Path) -> None:
    for name, data in {"binary": b"\xff\xd8\xff\xe0", "nested": b"[" * 100_000, "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: not JSON"):
            read_edit(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        read_edit(tmp_path / "missing")


def test_points_are_read_strictly() -> None:
    assert parse_points("0,0 128,140 255,255", name="--red") == ((0, 0), (128, 140), (255, 255))
    for text, said in {
        "0,0": "at least 2", "": "at least 2", "0,0 300,2": "above 255", "9,0 9,1": "must rise", "a,b c,d": "no input,output pair",
        "0,0 1.5,2": "no input,output pair", "0,-1 5,5": "no input,output pair", "0,٣ 5,5": "no input,output pair",
    }.items():
        with pytest.raises(ValueError, match=f"^--red: .*{said}"):
            parse_points(text, name="--red")


def test_impossible_strengths_are_named() -> None:
    for strength in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValueError, match="strength is"):
            adjust_edit(EDITS[0], strength)
    with pytest.raises(ValueError, match=r"must be below 1\.25"):
        adjust_edit(EditArrays((EDITS[1].get(Curves), replace(EDITS[1].get(Shading), limit=0.2))), 1.5)
    with pytest.raises(ValueError, match="channels are red, green, blue"):
        adjust_edit(EDITS[0], curves={"cyan": ((0, 0), (255, 255))})
