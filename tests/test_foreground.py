"""Where a mask is cut, and the error inside it: one home each."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.foreground import FOREGROUND, FOREGROUND_LEVEL
from models.losses import foreground_errors
from tasks.augmentation import quality
from tasks.color.difference import foreground_mse, squared_errors
from tasks.evaluation.metrics import score_pair
from tasks.tensors import to_tensor

CUTS = {0.5, 127, 127.5, 128}
# What else is compared with one half.
NO_MASKS = {"mirrors", "rng.random()", "rng.random((2, count))", "light", "is_ellipse", "np.ptp(tone, axis=1)"}
NAMES = ("HALF", "FOREGROUND", "THRESHOLD", "HARD", "CUT")


def cuts_in(text: str) -> list[str]:
    """The comparisons with a mask's threshold, and constants named after it, that stand in a module as numbers of its own."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(_value(side) in CUTS for side in sides) and not any(ast.unparse(side) in NO_MASKS for side in sides):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Assign) and _value(node.value) in CUTS:
            found += [ast.unparse(node) for target in node.targets if any(name in ast.unparse(target).upper() for name in NAMES)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift) and _value(node.right) == 7:
            found.append(ast.unparse(node))
    return found


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]  # np.float32(0.5), np.uint8(128)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


def test_no_other_file_says_where_a_mask_is_cut(repository: Path) -> None:
    home = repository / "attune" / "foreground.py"
    places = [
        f"{path.relative_to(repository)}: {cut}"
        for room in ("attune", "tasks", "models", "flows", "benchmarks") for path in sorted((repository / room).rglob("*.py"))
        if path != home for cut in cuts_in(path.read_text())
    ]
    assert not places, places
    assert cuts_in(home.read_text()) == ["FOREGROUND = 0.5"]


@pytest.mark.parametrize("planted", [
    "inside = mask > 127", "inside = mask[box] >= 128", "HALF = 128", "_HALF = np.uint8(128)", "hard = mask.flatten(1) > 0.5",
    "solid = np.float32(0.5) <= level", "count = levels[x] >> 7",
])  # fmt: skip
def test_a_threshold_that_is_planted_is_found(planted: str) -> None:
    assert len(cuts_in(planted)) == 1


def test_both_scales_say_the_same_of_every_level() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(levels >= FOREGROUND_LEVEL, levels / np.float32(255) >= FOREGROUND)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1))
def test_fmse_is_the_same_in_numpy_torch_and_in_the_evaluation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, 17, 13, 3), dtype=np.uint8)
    mask = rng.integers(0, 256, (17, 13), dtype=np.uint8)
    mask[0, 0] = 255
    error = np.square(first.astype(float) - second)
    by_hand = float(error[mask >= FOREGROUND_LEVEL].mean())
    assert foreground_mse(first, second, mask) == by_hand
    assert squared_errors(first, second, mask).mse == pytest.approx(error.mean(), rel=1e-12)
    assert foreground_mse(first.astype(np.float32), second.astype(np.float32), mask) == pytest.approx(by_hand, rel=1e-12)
    assert score_pair(first, second, mask, colour=False).fmse == by_hand
    assert quality.foreground_errors(first[None], second[None], mask[None]).tolist() == [by_hand]
    torchs = foreground_errors(to_tensor(first), to_tensor(second), to_tensor(mask))
    assert torchs.tolist() == pytest.approx([by_hand], rel=1e-5)


def test_an_empty_mask_leaves_no_error() -> None:
    first, second, mask = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8), np.full((4, 4), FOREGROUND_LEVEL - 1, np.uint8)
    assert foreground_mse(first, second, mask) == 0.0
    assert foreground_errors(to_tensor(first), to_tensor(second), to_tensor(mask)).tolist() == [0.0]
    assert torch.equal(to_tensor(mask) >= FOREGROUND, torch.zeros(1, 1, 4, 4, dtype=torch.bool))
