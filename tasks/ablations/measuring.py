"""How a study's harmonizers and the baselines do on all test pairs, at the size of training."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tasks.evaluation.measurements import COMPOSITE, Scored
from tasks.evaluation.measuring import measure
from tasks.evaluation.methods import Methods
from tasks.evaluation.metrics import do_no_harm_rate
from tasks.index import read_index
from tasks.params import Benchmark, Params

EVERYTHING = "*"
WHOLE, LIGHT = "all", "local light"
METHOD, SUBSET, GROUP = "method ", "sub-set ", "group "

Figures = dict[str, dict[str, float]]  # by slice of the test pairs


def measure_pairs(
    params: Params, methods: Methods, *, subsets: Sequence[str], groups: Mapping[str, Sequence[str]], least_light: float
) -> dict[str, Figures]:
    """By method and slice: mean `fmse`, `composite_fmse`, `psnr`, the share `do_no_harm` and `num_images`.

    Pairs are squashed to `train.model.size`. subsets: patterns of those of the test pairs that are looked at; "*" is all. groups: of
    sub-sets, by patterns. Slices: `WHOLE`; each sub-set; each group; each way composites were made; and `LIGHT`, retouches with a gradient
    of light of at least `least_light` stops from the frame's darkest to its brightest point. Raises ValueError if there is nothing to
    measure.
    """
    rows = read_index(params.paths.index, "pairs", split="test")
    sources = sorted({(row["source"], subset) for row in rows for subset in _named(row["subset"], subsets)})
    if not sources:
        raise ValueError(f"{params.paths.index}: no test pairs of {', '.join(subsets)}")
    benchmarks = {
        f"{source} {subset}": Benchmark(source=source, subset=subset, size=params.train.model.size, resize="pillow_bilinear")
        for source, subset in sources
    }
    looking = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"benchmarks": benchmarks})})
    found = measure(looking, methods, ("raw",), lambda done, total: None).scored
    scored = [one for each in found.values() for one in each]
    slices: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        for name in slices_of(one.row, least_light, groups):
            slices[name].append(one)
    names = list(scored[0].scores)
    return {method: {name: _figures(members, method) for name, members in sorted(slices.items())} for method in names}


def fits(subset: str, patterns: Sequence[str]) -> bool:
    """Whether a sub-set has one of these names; `*`, `?` and `[...]` mean what they do in a shell."""
    return any(fnmatchcase(subset, pattern) for pattern in patterns)


def _named(subset: str, patterns: Sequence[str]) -> Iterator[str]:
    """Under which name a benchmark looks at a sub-set: all of a source is one benchmark."""
    if EVERYTHING in patterns:
        yield EVERYTHING
    elif fits(subset, patterns):
        yield subset


def slices_of(row: Mapping[str, Any], least_light: float, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The slices that a pair belongs to."""
    yield WHOLE
    yield f"{SUBSET}{row['subset']}"
    yield from (f"{GROUP}{name}" for name, patterns in groups.items() if fits(row["subset"], patterns))
    yield f"{METHOD}{row['method']}"
    if row["method"] == "retouch" and row["method_params"] and light_range(row["method_params"]) >= least_light:
        yield LIGHT


def light_range(method_params: str) -> float:
    """Stops between the darkest and the brightest control point of a retouch's light, as the index describes it."""
    light = json.loads(method_params)["light"]
    return float(np.ptp(np.array(light)))


def _figures(members: Sequence[Scored], method: str) -> dict[str, float]:
    after, before = (np.array([one.fmse(who) for one in members]) for who in (method, COMPOSITE))
    return {
        "fmse": float(after.mean()), "composite_fmse": float(before.mean()), "do_no_harm": do_no_harm_rate(list(after), list(before)),
        "psnr": float(np.mean([one.scores[method]["raw"].psnr for one in members])), "num_images": float(len(members)),
    }
