"""Plans: a study as workspaces of data and cells of trainings, each with the params that it runs on.

A plan holds all that a workspace or a cell depends on, and nothing else: DVC runs again what has another plan, whatever was edited.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import TypeAdapter

from attune.files import read_json, write_json
from attune.unit_keys import code_digest
from tasks.ablations.study_params import EVERYTHING as EVERYTHING_SEEN
from tasks.ablations.study_params import STUDIES, Changes, StudyName, StudyParams
from tasks.params import Params, Section

Part = Literal["syconet", "shards", "mined"]
ROOM = Path(__file__).parent
EVERYTHING = "*"
OWN = {
    "ingest": ("max_megapixels",), "train": ("model.size",),  # no larger than what is augmented and mined
    "paths": ("index", "syconet", "shards", "mined", "harmonizer", "metrics", "work"),
}
SUMMARY = "summary.json"  # of a workspace: what is in it


class WorkspacePlan(Section):
    """An index with fewer rows, and what the stages make of it."""

    code: str  # a hash of it
    photographs: int | Literal["all"] | None  # of training, taken by hash; None: all, and the retouched pairs too
    without: tuple[str, ...]  # patterns of the sub-sets that are left out of training and validation
    parts: tuple[Part, ...]
    params: dict[str, Any]  # values of params.yaml


class CellPlan(Section):
    """Trainings that differ in their seed alone, and how they are measured."""

    code: str  # a hash of it
    seeds: tuple[int, ...]
    subsets: tuple[str, ...]  # patterns of those of the test pairs; "*": all of them
    groups: dict[str, tuple[str, ...]]  # of sub-sets, by patterns, that are measured each as a whole
    least_light: float  # stops, see `tasks.ablations.measuring`
    naturalness_images: int | None  # where real composites are judged too
    judge: Path | None  # the discriminator that does
    params: dict[str, Any]


class StudyPlan(Section):
    """All of a study."""

    workspaces: dict[str, WorkspacePlan]
    cells: dict[str, CellPlan]
    baselines: CellPlan  # on whose test pairs they are measured
    judge: CellPlan | None = None  # the training of the discriminator apart


def plan_study(name: StudyName, study: StudyParams, params: Params) -> StudyPlan:
    """The plan of a study. Raises ValueError naming study, cell and key if a change does not fit params.yaml."""
    planned = {"augmentation": _plan_augmentation, "ablation": _plan_ablation, "cross_source": _plan_cross_source, "parts": _plan_parts}
    return planned[name](_Planner(name, study, params))


def write_plan(folder: Path, plan: StudyPlan) -> None:
    """Write `workspaces/<name>.json`, `cells/<name>.json`, `baselines.json` and `judge.json` below `folder`; files of what is no longer
    planned go.
    """
    single = {"baselines": plan.baselines} | ({"judge": plan.judge} if plan.judge else {})
    for kind, plans in (("workspaces", plan.workspaces), ("cells", plan.cells), ("", single)):
        for path in (folder / kind).glob("*.json"):
            if path.stem not in plans:
                path.unlink()
        for name, each in plans.items():
            write_json(folder / kind / f"{name}.json", each.model_dump(mode="json"))


def read_workspace_plan(path: Path) -> WorkspacePlan:
    """The plan that `write_plan` wrote."""
    return TypeAdapter(WorkspacePlan).validate_python(read_json(path))


def read_cell_plan(path: Path) -> CellPlan:
    """The plan that `write_plan` wrote."""
    return TypeAdapter(CellPlan).validate_python(read_json(path))


def study_folder(study: StudyParams, name: StudyName) -> Path:
    """Where a study's plans, workspaces and results lie."""
    assert name in STUDIES
    return study.folder / name


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """`params` with the sections and keys of `values` laid over. Raises ValueError naming a key that is unknown or out of range."""
    merged: dict[str, Any] = params.model_dump(mode="json")
    _lay_over(merged, values)
    return Params.model_validate(merged)


class _Planner:
    """A study's params, and where its data lie."""

    def __init__(self, name: StudyName, study: StudyParams, params: Params) -> None:
        self.code = {module: code_digest(ROOM / f"{module}.py") for module in ("workspaces", "cells")}
        self.name, self.study, self.own = name, study, getattr(study, name)
        self.folder = study_folder(study, name)
        self.params = with_values(with_values(params, study.shared), self.own.shared)

    def workspace(
        self, name: str, parts: tuple[Part, ...], *, photographs: int | Literal["all"] | None = None, without: tuple[str, ...] = (),
        mode: str | None = None,
    ) -> WorkspacePlan:
        """A workspace called `name`, of its own folder. mode: of mining, where it is not the study's own."""
        places = self.places(name, self.study.folder / "work" / self.name / name)
        params = with_values(self.params, {"paths": places} | ({"mine": {"mode": mode}} if mode else {}))
        read = {"shards": ("augment",), "syconet": ("syconet",), "mined": ("mine",)}
        sections = ("seed", *(section for part in parts for section in read[part]))
        return WorkspacePlan(
            code=self.code["workspaces"], photographs=photographs, without=without, parts=parts, params=_values(params, sections)
        )

    def cell(
        self, name: str, *changes: Changes, data: str, mined: str | None = None, subsets: tuple[str, ...] = (EVERYTHING,),
        groups: Mapping[str, Sequence[str]] = MappingProxyType({}), judged: bool = False,
    ) -> CellPlan:
        """A cell called `name` that trains on the workspace `data`, with composites of the workspace `mined`."""
        work = self.study.folder / "work" / self.name / "cells" / name
        params = self.params
        for each in changes:
            params = with_values(params, each)
        places = self.places(data, work) | ({"mined": self.places(mined, work)["mined"]} if mined else {})
        params = with_values(params, {"paths": places})
        return CellPlan(
            code=self.code["cells"], seeds=tuple(self.study.seeds), subsets=subsets,
            groups={group: tuple(patterns) for group, patterns in groups.items()}, least_light=self.study.ablation.least_light,
            naturalness_images=self.study.ablation.naturalness_images if judged else None,
            judge=self.folder / "judge" if judged else None,
            params=_values(params, ("train",)),
        )

    def places(self, workspace: str, work: Path) -> dict[str, Path]:
        """The paths of a workspace, and those of what is left below `work`."""
        parts = {part: self.folder / "workspaces" / workspace / part for part in ("index", "syconet", "shards", "mined")}
        return {**parts, "work": work, "metrics": work, "harmonizer": work / "harmonizer"}


def _plan_augmentation(planner: _Planner) -> StudyPlan:
    study = planner.study.augmentation
    workspaces = {
        str(count): planner.workspace(str(count), ("syconet", "shards"), photographs=count) for count in study.photographs
    }
    cells = {}
    for count, harmonizer, augmentation in product(study.photographs, study.harmonizers, study.augmentations):
        name = f"{count}-{harmonizer}-{augmentation}"
        cells[name] = planner.cell(name, study.harmonizers[harmonizer], study.augmentations[augmentation], data=str(count))
    return StudyPlan(workspaces=workspaces, cells=cells, baselines=planner.cell("baselines", data=str(study.photographs[0])))


def _plan_ablation(planner: _Planner) -> StudyPlan:
    study = planner.study.ablation
    workspaces: dict[str, WorkspacePlan] = {
        name: planner.workspace(name, ("shards",)) if name == "pairs" else planner.workspace(name, ("mined",), mode=name)
        for name in study.data
    }
    cells = {}
    for name, changes in study.configurations.items():
        mode = with_values(planner.params, changes).mine.mode
        cells[name] = planner.cell(name, changes, data="pairs", mined=mode, judged=True)
    steps: Changes = {"train": {"optimizer": {"steps": study.judge_steps}}}
    return StudyPlan(
        workspaces=workspaces, cells=cells, baselines=planner.cell("baselines", data="pairs"),
        judge=planner.cell("judge", steps, data="pairs", mined=planner.params.mine.mode),
    )


def _plan_cross_source(planner: _Planner) -> StudyPlan:
    study = planner.study.cross_source
    every = tuple(dict.fromkeys(pattern for patterns in study.groups.values() for pattern in patterns))
    parts: tuple[Part, ...] = ("shards", "mined") if planner.params.train.adversary.share else ("shards",)
    workspaces: dict[str, WorkspacePlan] = {
        name: planner.workspace(name, parts, without=tuple(study.groups.get(name, ()))) for name in study.data
    }
    cells = {EVERYTHING_SEEN: planner.cell(EVERYTHING_SEEN, data=EVERYTHING_SEEN, subsets=every, groups=study.groups)} | {
        name: planner.cell(name, data=name, subsets=tuple(patterns), groups={name: patterns}) for name, patterns in study.groups.items()
    }
    baselines = planner.cell("baselines", data=EVERYTHING_SEEN, subsets=every, groups=study.groups)
    return StudyPlan(workspaces=workspaces, cells=cells, baselines=baselines)


def _plan_parts(planner: _Planner) -> StudyPlan:
    configurations = planner.study.parts.configurations
    return StudyPlan(
        workspaces={"pairs": planner.workspace("pairs", ("shards",))},
        cells={name: planner.cell(name, changes, data="pairs") for name, changes in configurations.items()},
        baselines=planner.cell("baselines", data="pairs"),
    )


def _values(params: Params, sections: tuple[str, ...]) -> dict[str, Any]:
    """The `sections` of `params` that a plan stands on, and of others the keys that every plan does."""
    dumped: dict[str, Any] = json.loads(params.model_dump_json())
    own: dict[str, Any] = {}
    for section, keys in OWN.items():
        for key in keys:
            *above, name = section, *key.split(".")
            values, chosen = dumped, own
            for part in above:
                values, chosen = values[part], chosen.setdefault(part, {})
            chosen[name] = values[name]
    return own | {section: dumped[section] for section in sections}


def _lay_over(values: dict[str, Any], changes: Mapping[str, Any], prefix: str = "") -> None:
    for key, new in changes.items():
        if key not in values:
            raise ValueError(f"ablations/params.yaml: {prefix}{key}: no such key in params.yaml")
        if isinstance(new, Mapping) and isinstance(values[key], dict):
            _lay_over(values[key], new, f"{prefix}{key}.")
        else:
            values[key] = new
