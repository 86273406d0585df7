"""Workspaces: an index with fewer rows to train on, and what the project's own stages make of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from attune.files import write_json
from tasks.ablations.measuring import fits
from tasks.ablations.plans import SUMMARY, WorkspacePlan, with_values
from tasks.augment import finish_augment, plan_augment, write_pair_shard
from tasks.fit_syconet import fit_syconet
from tasks.index import TABLES, read_index, write_table
from tasks.mine import finish_mine, plan_mine, render_shard
from tasks.params import Params
from tasks.seeds import derive_seed

Row = Mapping[str, Any]
Say = Callable[[str], None]

FILTERED = ("photographs", "pairs", "retouches", "composites")


def make_workspace(plan: WorkspacePlan, params: Params, say: Say) -> None:
    """Write the plan's index, and what its `parts` name. A killed run goes on where its stages can.

    params: the project's; the plan's values are laid over. Raises ValueError as the stages do.
    """
    own = with_values(params, plan.params)
    found: dict[str, Any] = write_index(params.paths.index, own.paths.index, photographs=plan.photographs, without=plan.without)
    if "syconet" in plan.parts:
        found["syconet"] = fit_syconet(own, _silent, _silent)
        say(f"syconet: {found['syconet']['reconstruction_ratio']:.2f} of the composites' fMSE after reconstruction")
    if "shards" in plan.parts:
        found["shards"] = finish_augment(own, [write_pair_shard(own, unit) for unit in plan_augment(own)])
        counts = [found["shards"].get(f"num_train_{kind}", 0) for kind in ("original", "augmented")]
        say("shards: {:.0f} pairs, {:.0f} more by SycoNet".format(*counts))
    if "mined" in plan.parts:
        # What is known of an object depends on no study: with the project's own working folder it is found out once.
        shared = with_values(own, {"paths": {"work": params.paths.work}})
        found["mined"] = finish_mine(shared, [render_shard(shared, unit) for unit in plan_mine(shared)])
        say(f"mined: {found['mined']['composites_train']:.0f} composites for training")
    write_json(own.paths.index.with_name(SUMMARY), found)


def write_index(
    source: Path, target: Path, *, photographs: int | Literal["all"] | None, without: tuple[str, ...]
) -> dict[str, int]:
    """Write the tables of the index `source` to `target`, with fewer rows of training; those of the test split all stay as they are.

    The result counts the `photographs` and `pairs` that are left to train on.

    photographs: of so many photographs, those that lie first by their hash, so that a smaller number's are among a larger one's; "all" is
    all that have pairs, None all and the retouched pairs too. without: patterns of the sub-sets that training and validation do without.
    Raises ValueError if there are not as many photographs, or nothing to train on is of a sub-set that the patterns fit.
    """
    pairs, photographs_there = read_index(source, "pairs"), read_index(source, "photographs")
    trained_on = sorted({row["subset"] for row in (*pairs, *photographs_there) if row["split"] == "train"})
    if without and not any(fits(subset, without) for subset in trained_on):
        raise ValueError(f"{source}: nothing to train on of sub-sets {', '.join(without)} to leave out; there are: {', '.join(trained_on)}")
    chosen = None if photographs is None else choose_photographs(pairs, photographs)

    def stays(row: Row) -> bool:
        if row["split"] == "test":
            return True
        if fits(row["subset"], without):
            return False
        return row["split"] != "train" or chosen is None or row["group"] in chosen

    for table in FILTERED:
        write_table(target / f"{table}.parquet", filter(stays, read_index(source, table)), TABLES[table])
    left, seen = ([row for row in rows if row["split"] == "train" and stays(row)] for rows in (pairs, (*pairs, *photographs_there)))
    return {"photographs": len({row["group"] for row in seen}), "pairs": len(left)}


def choose_photographs(pairs: list[Any], count: int | Literal["all"]) -> frozenset[str]:
    """`count` of the training photographs that have pairs: those that lie first by their hash. Raises ValueError if there are fewer."""
    known = {row["group"] for row in pairs if row["split"] == "train"}
    if count == "all":
        return frozenset(known)
    if count > len(known):
        raise ValueError(f"augmentation.photographs in ablations/params.yaml: {count} of {len(known)} training photographs")
    return frozenset(sorted(known, key=lambda group: derive_seed(0, "ablations", group))[:count])


def _silent(*_: object) -> None:
    pass
