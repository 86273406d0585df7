"""The schema of ablations/params.yaml, in its order: what the studies vary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from tasks.params import Count, Positive, Section

STUDIES = ("augmentation", "ablation", "cross_source", "parts")
EVERYTHING = "everything"  # the training of the cross-source study that leaves no group out
StudyName = Literal["augmentation", "ablation", "cross_source", "parts"]


def _but_speed(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if "speed" in changes:
        raise ValueError("speed: the studies run at the project's own, which stands in its params.yaml")
    return changes


Changes = Annotated[dict[str, dict[str, Any]], AfterValidator(_but_speed)]  # by section of params.yaml


def _with(*needed: str) -> AfterValidator:
    """A check that names which the claims are about are there."""

    def check(varied: dict[str, Changes]) -> dict[str, Changes]:
        if lacking := [name for name in needed if name not in varied]:
            raise ValueError(f"the claims are about {', '.join(needed)}; {', '.join(lacking)} is not there")
        return varied

    return AfterValidator(check)


class AugmentationStudy(Section):
    photographs: list[Count | Literal["all"]]
    harmonizers: dict[str, Changes]
    augmentations: Annotated[dict[str, Changes], _with("none", "static", "dynamic")]
    shared: Changes


class AblationStudy(Section):
    data: list[Literal["pairs", "mined", "pih_random"]]
    configurations: Annotated[dict[str, Changes], _with("dual", "curves")]
    shared: Changes
    naturalness_images: Count
    judge_steps: Count
    least_light: Positive


class CrossSourceStudy(Section):
    held_out: dict[str, Annotated[list[str], Field(min_length=1)]]  # patterns of sub-sets, by group
    data: list[str]
    shared: Changes

    @model_validator(mode="after")
    def _data_are_groups(self) -> "CrossSourceStudy":
        if EVERYTHING in self.held_out:
            raise ValueError(f"held_out: {EVERYTHING} is no group; it is the training that leaves none out")
        if EVERYTHING not in self.data or len(set(self.data)) < 2:
            raise ValueError(f"data: {self.data} must name {EVERYTHING} and at least one group")
        if unknown := [name for name in self.data if name not in (EVERYTHING, *self.held_out)]:
            raise ValueError(f"data: {', '.join(unknown)} is no group of held_out: {', '.join(self.held_out)}")
        return self

    @property
    def groups(self) -> dict[str, list[str]]:
        """The groups that `data` names, with their patterns."""
        return {name: patterns for name, patterns in self.held_out.items() if name in self.data}


class PartsStudy(Section):
    configurations: Annotated[dict[str, Changes], _with("whole")]
    shared: Changes


class StudyParams(Section):
    """All of ablations/params.yaml."""

    index: Path
    folder: Path
    seeds: list[Count]
    shared: Changes
    augmentation: AugmentationStudy
    ablation: AblationStudy
    cross_source: CrossSourceStudy
    parts: PartsStudy


def load_study_params(path: Path = Path("ablations/params.yaml")) -> StudyParams:
    """The validated values of `path`. Raises ValueError naming file, key and value."""
    try:
        values: Mapping[str, Any] = yaml.safe_load(path.read_text())
        return StudyParams.model_validate(values)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run from the project's root") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML ({error})") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"{path}: {'; '.join(faults)}") from None
