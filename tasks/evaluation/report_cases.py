"""The cases of the report's page: pictures at the file's own shape, drawn by the very edit that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from attune.images import resize_image
from attune.operators.operator import EditArrays
from models.harmonizer import Harmonizer, ParametricHarmonizer
from tasks.evaluation.case_files import Case
from tasks.evaluation.measurements import HARMONIZED, Changed, Scored
from tasks.evaluation.protocols import Example, read_example, read_pictures
from tasks.harmonize import edit_arrays
from tasks.params import Benchmark
from tasks.tensors import to_tensor, to_uint8

MAX_SIDE = 640  # px, a picture's longer side


def make_cases(
    model: Harmonizer, found: Sequence[Scored], benchmark: Benchmark, *, num_cases: int, max_megapixels: float, rng: np.random.Generator
) -> list[Case]:
    """At most `num_cases` of the best, middle and worst pairs, as `chosen_cases` draws them. BadSample as `read_example`."""
    return [
        _make_case(label, scored, model, benchmark, max_megapixels) for label, scored in chosen_cases(found, num_cases, rng)
    ]


def make_real_cases(
    model: Harmonizer, found: Sequence[Changed], benchmark: Benchmark, *, num_cases: int, max_megapixels: float
) -> list[Case]:
    """At most `num_cases` real composites, evenly from those changed least to those changed most. BadSample as `read_example`."""
    ranked = sorted(found, key=lambda changed: (changed.changes[HARMONIZED], changed.row["key"]))
    chosen = np.unique(np.linspace(0, len(ranked) - 1, min(num_cases, len(ranked))).round().astype(int))
    return [
        _make_case(f"rank {place + 1} of {len(ranked)} by change", ranked[place], model, benchmark, max_megapixels) for place in chosen
    ]


def chosen_cases(found: Sequence[Scored], num_rows: int, rng: np.random.Generator) -> list[tuple[str, Scored]]:
    """At most `num_rows` pairs to look at, each with what it stands for: drawn from the best, middle and worst tenth, best first.

    The measure is the harmonized image's foreground error as a share of the composite's.
    """
    ranked = sorted(found, key=lambda scored: (scored.fmse(HARMONIZED) / max(scored.fmse("composite"), 1e-9), scored.row["key"]))
    wanted = min(num_rows, len(ranked))
    counts = [wanted // 3 + (part < wanted % 3) for part in (0, 2, 1)]  # what does not divide goes to the best, then to the worst
    tenth = max(*counts, len(ranked) // 10)
    middle = max(0, len(ranked) // 2 - tenth // 2)
    spans = {
        "best tenth": range(tenth), "middle tenth": range(middle, middle + tenth), "worst tenth": range(len(ranked) - tenth, len(ranked))
    }
    cases: list[tuple[str, Scored]] = []
    taken: set[int] = set()
    for (label, span), count in zip(spans.items(), counts, strict=True):
        free = [index for index in span if 0 <= index < len(ranked) and index not in taken]
        drawn = sorted(rng.choice(free, min(count, len(free)), replace=False).tolist()) if free else []
        taken.update(drawn)
        cases += [(label, ranked[index]) for index in drawn]
    return cases


def _make_case(label: str, measured: Scored | Changed, model: Harmonizer, benchmark: Benchmark, max_megapixels: float) -> Case:
    example = read_example(measured.row, benchmark, max_megapixels=max_megapixels)
    shown = _pictures(measured.row, max_megapixels)
    harmonized, edit = _apply(model, example, shown)
    return Case(label, measured, shown["composite"], shown["mask"], harmonized, shown.get("target"), edit)


def _pictures(row: Mapping[str, Any], max_megapixels: float) -> dict[str, np.ndarray]:
    """composite, mask, target, and the plate where there is one: at the composite's own aspect, no side over `MAX_SIDE`."""
    found = read_pictures(row, max_megapixels=max_megapixels)
    height, width = found["composite"].shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    return {name: resize_image(image, max(1, round(height * scale)), max(1, round(width * scale))) for name, image in found.items()}


def _apply(model: Harmonizer, measured: Example, shown: Mapping[str, np.ndarray]) -> tuple[np.ndarray, EditArrays | None]:
    """The shown composite harmonized: by the edit predicted for the measured one, or anew where the model has no edit to show."""
    with torch.inference_mode():
        composite, mask = to_tensor(shown["composite"]), to_tensor(shown["mask"])
        plate = to_tensor(shown["plate"]) if model.config.plate else None
        if not isinstance(model, ParametricHarmonizer):
            return to_uint8(model(composite, mask, plate).harmonized)[0], None
        behind = None if measured.plate is None else to_tensor(measured.plate)
        edit = model.predict(to_tensor(measured.composite), to_tensor(measured.mask), behind)
        return to_uint8(model.render(edit, composite, mask, plate).harmonized)[0], edit_arrays(edit, model.config)
