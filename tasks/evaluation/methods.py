"""Who is measured: the baselines, folders of other methods' outputs, the champion, and the harmonizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from attune.images import read_image
from models.harmonizer import Harmonizer, ParametricHarmonizer
from tasks.evaluation.baselines import BASELINES, Baseline
from tasks.evaluation.measurements import CHAMPION, COMPOSITE, HARMONIZED
from tasks.evaluation.protocols import Example, at_size
from tasks.harmonize import harmonize_image
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Benchmark, Params
from tasks.tensors import to_tensor, to_uint8

Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Methods:
    """The methods of one run, in the order in which they are shown; names are unique across the three kinds."""

    baselines: Mapping[str, Baseline]
    competitors: Mapping[str, Path]  # folders of `<name>.png`
    networks: Mapping[str, Harmonizer]

    def needs_plates(self) -> bool:
        """Whether a network cannot do without clean backgrounds."""
        return any(network.config.plate for network in self.networks.values())

    def predict(self, examples: Sequence[Example], *, native: bool = False) -> list[dict[str, Picture]]:
        """Every network's answer to each example, as `harmonize_examples` gives them."""
        answers: list[dict[str, Picture]] = [{} for _ in examples]
        for name, network in self.networks.items():
            for answer, picture in zip(answers, harmonize_examples(network, examples, native=native), strict=True):
                answer[name] = picture
        return answers

    def compute(self, example: Example, benchmark: Benchmark, max_megapixels: float) -> dict[str, Picture]:
        """The answers of the methods that need no network: by baselines, and read from competitors' files."""
        found = {name: baseline(example.composite, example.mask) for name, baseline in self.baselines.items()}
        for name, folder in self.competitors.items():
            found[name] = read_answer(folder, example, benchmark, max_megapixels=max_megapixels)
        return found


def harmonizer_alone(model: Harmonizer) -> Methods:
    """One harmonizer beside doing nothing."""
    return Methods({COMPOSITE: BASELINES[COMPOSITE]}, {}, {HARMONIZED: model})


def load_methods(params: Params) -> Methods:
    """The methods that `params` name: all baselines, `evaluate.competitors`, `evaluate.champion` if there is one, and the harmonizer.

    Raises ValueError naming the file or key if a model cannot be loaded, a folder is missing, or a name is taken.
    """
    networks = {HARMONIZED: load_harmonizer(params.paths.harmonizer)[0]}
    if params.evaluate.champion is not None:
        networks = {CHAMPION: load_harmonizer(params.evaluate.champion)[0], **networks}
    for name, folder in params.evaluate.competitors.items():
        if name in BASELINES or name in (CHAMPION, HARMONIZED):
            raise ValueError(f"evaluate.competitors.{name}: the name is taken; choose another")
        if not folder.is_dir():
            raise ValueError(f"evaluate.competitors.{name}: {folder} is no folder")
    return Methods(BASELINES, params.evaluate.competitors, networks)


def harmonize_examples(model: Harmonizer, examples: Sequence[Example], *, native: bool = False) -> list[Picture]:
    """The model's answers at the examples' own sizes, sRGB-encoded, rounded to nearest.

    Examples of one size are one batch, over the plate in a model that takes one. native: they may be large and of any sizes; each edit is
    predicted at the model's size and applied to the file's pixels (tasks/harmonize.py), over the composite itself.
    Raises ValueError naming the first example without a plate if the model needs them.
    """
    plates = _plates(examples) if model.config.plate else []
    if native and isinstance(model, ParametricHarmonizer):
        return [
            np.asarray(harmonize_image(model, example.composite, example.mask, plate=example.plate, num_threads=1)) for example in examples
        ]
    if len({example.mask.shape for example in examples}) > 1:
        return [harmonize_examples(model, [example], native=native)[0] for example in examples]
    composites, masks = np.stack([example.composite for example in examples]), np.stack([example.mask for example in examples])
    return list(harmonize_batch(model, composites, masks, np.stack(plates) if plates else None))


def _plates(examples: Sequence[Example]) -> list[Picture]:
    lacking = [example.row["key"] for example in examples if example.plate is None]
    if lacking:
        raise ValueError(f"{lacking[0]}: this harmonizer needs clean backgrounds, which this test image does not have")
    return [example.plate for example in examples if example.plate is not None]


def harmonize_batch(
    model: Harmonizer,
    composites: UInt8[np.ndarray, "B H W 3"],
    masks: UInt8[np.ndarray, "B H W"],
    plates: UInt8[np.ndarray, "B H W 3"] | None = None,
) -> UInt8[np.ndarray, "B H W 3"]:
    """The model's answers, sRGB-encoded, at the composites' own size, rounded to nearest; where the mask is 0 the background's own bits."""
    with torch.inference_mode():
        behind = None if plates is None else to_tensor(plates)
        return to_uint8(model(to_tensor(composites), to_tensor(masks), behind).harmonized)


def find_answer(folder: Path, row: Mapping[str, str]) -> Path:
    """Where a competitor's answer to an index row lies: `<key>.png`, or named like the composite's file."""
    by_key = folder / f"{row['key']}.png"
    return by_key if by_key.is_file() else folder / f"{Path(row['composite_path']).stem}.png"


def check_answers(methods: Methods, rows: Sequence[Mapping[str, str]], benchmark: str) -> Methods:
    """`methods` without the competitors that have no file for any of `rows`: they did not take part in this benchmark.

    Raises ValueError naming the first file that is missing of one that has some: means over other images could not be compared.
    """
    present = {}
    for name, folder in methods.competitors.items():
        missing = [path for path in (find_answer(folder, row) for row in rows) if not path.is_file()]
        if missing and len(missing) < len(rows):
            raise ValueError(
                f"evaluate.competitors.{name}: {missing[0]} is missing, and {len(missing) - 1} more of the {len(rows)} test images of "
                f"{benchmark}; all or none must be there"
            )
        if not missing:
            present[name] = folder
    return Methods(methods.baselines, present, methods.networks)


def read_answer(folder: Path, example: Example, benchmark: Benchmark, *, max_megapixels: float) -> Picture:
    """A competitor's answer at the example's size, resized by the benchmark's own convention where it differs.

    Raises ValueError naming the file if it cannot be read, or does not fit a benchmark at native size.
    """
    path = find_answer(folder, example.row)
    found = read_image(path, max_megapixels=max_megapixels)
    if found.shape == example.composite.shape:
        return found
    if benchmark.size == "native":
        height, width = example.mask.shape
        raise ValueError(f"{path}: {found.shape[1]}x{found.shape[0]} px; at native size it must be {width}x{height}")
    return at_size(found, benchmark)
