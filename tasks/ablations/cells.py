"""Cells: trainings that differ in their seed alone, measured on the same test pairs, and on real composites where that is asked for."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attune.files import read_json, write_json
from attune.unit_keys import unit_key
from tasks.ablations.judge import NATURAL, judge_composites, load_judge
from tasks.ablations.measuring import measure_pairs
from tasks.ablations.plans import CellPlan, with_values
from tasks.evaluation.baselines import BASELINES
from tasks.evaluation.measurements import COMPOSITE
from tasks.evaluation.methods import Methods
from tasks.evaluation.naturalness import measure_naturalness
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params
from tasks.train import train

Say = Callable[[str], None]


def run_cell(plan: CellPlan, params: Params, result: Path, say: Say) -> None:
    """Train one harmonizer per seed, measure all of them, and write what was found to `result`, whole or not at all.

    A killed run keeps the seeds that it had finished, as long as plan, data and code are the same. The harmonizers are not kept.
    params: the project's; the plan's values are laid over. Raises ValueError as training and measuring do.
    """
    own = with_values(params, plan.params)
    work = own.paths.work / _key(plan, own)
    for other in own.paths.work.glob("*"):
        if other != work:
            shutil.rmtree(other)
    trained = {}
    for seed in plan.seeds:
        one = for_seed(own, seed, work)
        done = work / f"seed-{seed}.json"
        if not done.is_file():
            write_json(done, train(one, _silent, _silent))
        trained[f"seed {seed}"] = (one, read_json(done))
        say(f"seed {seed}: validation fMSE {trained[f'seed {seed}'][1]['val_fmse_ratio']:.3f} of the composites'")
    networks = {name: load_harmonizer(one.paths.harmonizer)[0] for name, (one, _) in trained.items()}
    found: dict[str, dict[str, Any]] = {name: {"training": figures} for name, (_, figures) in trained.items()}
    methods = Methods({COMPOSITE: BASELINES[COMPOSITE]}, {}, networks)
    pairs = measure_pairs(own, methods, subsets=plan.subsets, groups=plan.groups, least_light=plan.least_light)
    for name in networks:
        found[name]["pairs"] = pairs[name]
    for kind, figures in _judge(plan, own, methods).items():
        for name in networks:
            found[name][kind] = {"before": figures[COMPOSITE], "after": figures[name], "natural": figures[NATURAL]}
    write_json(result, found)
    shutil.rmtree(own.paths.work)


def measure_baselines(plan: CellPlan, params: Params, result: Path) -> None:
    """Measure doing nothing and the classical baselines on the test pairs of `plan`, and write what was found to `result`.

    They are read from the whole index: its test pairs are every workspace's, and no workspace need be there yet.
    """
    own = with_values(with_values(params, plan.params), {"paths": {"index": params.paths.index}})
    found = measure_pairs(own, Methods(BASELINES, {}, {}), subsets=plan.subsets, groups=plan.groups, least_light=plan.least_light)
    write_json(result, {name: {"pairs": figures} for name, figures in found.items()})


def for_seed(params: Params, seed: int, work: Path) -> Params:
    """`params` of the training with `seed`, which leaves its files below `work`."""
    folder = work / f"seed-{seed}"
    return with_values(params, {"seed": seed, "paths": {"work": folder, "metrics": folder, "harmonizer": folder / "harmonizer"}})


def _judge(plan: CellPlan, params: Params, methods: Methods) -> Mapping[str, Mapping[str, float]]:
    """Of real composites, by judge and method: what the held-out probe and the discriminator apart say; empty where nobody asks."""
    if plan.judge is None or plan.naturalness_images is None:
        return {}
    evaluated = params.evaluate.model_copy(update={"naturalness_images": plan.naturalness_images})
    natural = measure_naturalness(params.model_copy(update={"evaluate": evaluated}), methods)
    judged = {"judge": judge_composites(params, load_judge(plan.judge), methods)}
    if natural.real_composites:
        judged["probe"] = {name: row.score for name, row in natural.real_composites.items()} | {NATURAL: 0.0}  # by the score's definition
    return {judge: figures for judge, figures in judged.items() if figures}


def _key(plan: CellPlan, params: Params) -> str:
    """What unfinished work belongs to: the plan, the data and the code."""
    data = [read_json(folder / "manifest.json") for folder in (params.paths.shards, params.paths.mined) if folder.is_dir()]
    return unit_key(run_cell, plan.model_dump(mode="json", exclude={"seeds", "code"}), data)


def _silent(*_: object) -> None:
    pass
