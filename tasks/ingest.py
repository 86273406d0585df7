"""Ingestion: sources -> a checked Parquet index without leaks, and composites synthesized where a source has photographs and masks only.

1. `plan_ingest` lists every source without decoding; of the samples that no outcome is known of, `check_chunk` opens and checks all files.
2. `settle_ingest` finds photographs that stand under several names, puts each on one side of the split, and plans composites, which
   `compose_chunk` makes.
3. `finish_ingest` writes the index, its manifest last.

Between the steps everything lies below `paths.work`: a killed run continues, a run after a change looks at what changed, and nothing
depends on the order of chunks, on threads or processes.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attune.files import clear_folder, read_json, write_json
from attune.rejects import RejectReason
from tasks.index import SCHEMA_VERSION, TABLES, iterate_table, write_table
from tasks.ingestion.check_chunks import outcomes_folder, plan_checks
from tasks.ingestion.composite_chunks import composite_results, plan_composites, planned_composites, stored_file
from tasks.ingestion.kept_work import WorkChunk, iterate_results, keep_results
from tasks.ingestion.leaks import count_leaks
from tasks.ingestion.object_composites import subset_folder
from tasks.ingestion.sample_lists import read_listed_counts, read_lists, write_lists
from tasks.ingestion.settling import Row, settle_samples
from tasks.params import Params
from tasks.sources.iharmony4 import COMPOSITES
from tasks.sources.iharmony4 import write_lists as write_layout_lists
from tasks.sources.registry import SOURCES
from tasks.splits import SPLITS

OURS = (RejectReason.SYNTHESIS_FAILED.value, RejectReason.LEAK.value)  # reasons that no fault of what was brought gives
TOOLS = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg")  # whose versions the tables name


# --- Listing ----------------------------------------------------------------------------------------------------------------------------


def plan_ingest(params: Params) -> list[WorkChunk]:
    """The samples to check, in chunks, after listing every source; empties the output folders.

    Raises ValueError naming key and path if a source's folder is missing or a source lists nothing.
    """
    if not params.ingest.sources:
        raise ValueError(f"ingest.sources: empty; name at least one of {', '.join(SOURCES)}")
    listed = []
    for name in sorted(set(params.ingest.sources)):
        source = SOURCES[name]
        if source.make is not None:
            source.make(params)
        candidates = source.list(params)
        if not any(getattr(candidates, field.name) for field in fields(candidates)):
            raise ValueError(f"ingest.sources: {name} lists no sample at all")
        listed.append(candidates)
    clear_folder(params.paths.index)
    clear_folder(params.paths.composites)
    write_lists(_lists(params), listed)
    return plan_checks(params, read_lists(_lists(params)))


def _lists(params: Params) -> Path:
    return params.paths.work / "ingest" / "listed"


# --- Settling ---------------------------------------------------------------------------------------------------------------------------


def settle_ingest(params: Params) -> list[WorkChunk]:
    """Write the tables of what was brought, find and mend leaks between the splits, and plan the composites that
    are still to be made, in chunks.

    Raises ValueError if a sample is not checked or a source names one photograph in two splits; and with the table of reasons if a source
    has more bad samples than `ingest.max_reject_fraction`: the rejects table is written all the same.
    """
    settled = settle_samples(_lists(params), dict(iterate_results(outcomes_folder(params))), params.ingest)
    rejects = list(settled.rejects())
    _write(params, "rejects", rejects)
    check_reject_fractions(rejects, read_listed_counts(_lists(params)), params.ingest.max_reject_fraction)
    audit = settled.audit()
    _write(params, "duplicates", audit)
    for table in ("photographs", "pairs", "retouches", "composites"):
        _write(params, table, settled.rows(table))
    write_json(_lists(params) / "leaks.json", count_leaks(audit))
    for table in ("pairs", "rejects"):  # what is synthesized comes on top of these
        shutil.copyfile(_table(params, table), _lists(params) / f"brought_{table}.parquet")
    paired = {str(group) for group in pc.unique(pq.read_table(_table(params, "pairs"), columns=["group"])["group"]).to_pylist()}
    return plan_composites(params, settled.objects(), paired)


def check_reject_fractions(rejects: Sequence[Row], samples: Mapping[str, int], limit: float) -> None:
    """Raise ValueError, with a table of reasons and an example of each, if a source's share of bad samples is over `limit`.

    Neither failed draws of composites nor photographs left out for their duplicates count: they are no fault of what was brought.
    """
    for source, total in sorted(samples.items()):
        bad = [row for row in rejects if row["source"] == source and row["reason"] not in OURS]
        if len(bad) > limit * total:
            examples = {row["reason"]: row["detail"] for row in reversed(bad)}
            counts = Counter(row["reason"] for row in bad)
            table = "\n".join(f"  {count:6d}  {reason}, as in {examples[reason]}" for reason, count in counts.most_common())
            raise ValueError(
                f"ingest: {len(bad)} of {total} samples of source {source} are bad ({len(bad) / total:.1%}), over "
                f"ingest.max_reject_fraction = {limit:g}; all of them are in the rejects table:\n{table}"
            )


# --- The end ----------------------------------------------------------------------------------------------------------------------------


def finish_ingest(params: Params) -> dict[str, float]:
    """Join the composites to the index and to their folder, and close both with a manifest; how much there is of everything.

    Raises ValueError if a chunk of the plan is missing.
    """
    folder, missing = planned_composites(params)
    if missing:
        raise ValueError(f"ingest: {len(missing)} chunks of composites are not done, first {missing[0]}; run the stage again")
    for table, made in (("pairs", "pair"), ("rejects", "reject")):
        brought = iterate_table(_lists(params) / f"brought_{table}.parquet")
        _write(params, table, chain(brought, (result[made] for result in composite_results(folder) if result[made])))
    kept = _place_composites(params, folder)
    metrics = {**_count(params), **read_json(_lists(params) / "leaks.json")}
    write_json(params.paths.index / "manifest.json", {
        "schema_version": SCHEMA_VERSION, "samples": read_listed_counts(_lists(params)),
        "tables": {
            table: {"rows": pq.read_metadata(_table(params, table)).num_rows, "sha256": _file_sha256(_table(params, table))}
            for table in TABLES
        },
    })
    _forget_the_rest(params, folder, kept)
    return metrics


def _place_composites(params: Params, folder: Path) -> set[str]:
    """Link the synthesized files from the work folder to `paths.composites` (or copy them), with list files and a manifest, last.

    The SHA-256 of all of them.
    """
    target = clear_folder(params.paths.composites)
    entries, placed = [], set()
    for result in composite_results(folder):
        for name, sha256 in result["files"].items():
            placed.add(sha256)
            if not (target / name).is_file():  # composites of one photograph share their target
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(stored_file(folder, sha256), target / name)
        if row := result["pair"]:
            entries.append((subset_folder(row["source"]), Path(row["composite_path"]).name, row["split"]))
    write_layout_lists(target, entries)
    counts = Counter(subset for subset, _, _ in entries)
    write_json(target / "manifest.json", {"layout": f"<Sub>/{COMPOSITES} ...", "composites": dict(counts)})
    return placed


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)  # another file system, or one without links


def _forget_the_rest(params: Params, composites: Path, files: Set[str]) -> None:
    """Remove what no run will look at again: other rules' work, outcomes of files that are gone, composites that are none any more."""
    outcomes = outcomes_folder(params)
    listed = {key for key, _ in read_lists(_lists(params))}
    keep_results(outcomes, lambda key, _: key in listed)
    for path in (composites / "files").glob("*/*"):
        if path.name not in files:
            path.unlink()
    for kept in (composites, outcomes):
        for name in ("chunks", "references"):
            shutil.rmtree(kept / name, ignore_errors=True)
        for other in kept.parent.iterdir():
            if other.is_dir() and other != kept:
                shutil.rmtree(other)


# --- Tables -----------------------------------------------------------------------------------------------------------------------------


def _table(params: Params, name: str) -> Path:
    return params.paths.index / f"{name}.parquet"


def _write(params: Params, table: str, rows: Any) -> None:
    """Write a table of the index; whoever reads it alone finds in its metadata which params and tools made it."""
    settings = json.dumps([params.seed, params.ingest.model_dump(mode="json")], sort_keys=True)
    write_table(_table(params, table), rows, TABLES[table], {
        "params_sha256": hashlib.sha256(settings.encode()).hexdigest(), "tools": json.dumps({name: version(name) for name in TOOLS}),
    })


def _file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _count(params: Params) -> dict[str, float]:
    def column(table: str, name: str) -> Any:
        return pq.read_table(_table(params, table), columns=[name])[name]

    splits = Counter(column("pairs", "split").to_pylist())
    fmse = column("pairs", "composite_fmse").to_numpy()
    counts = {
        "photographs": len(pc.unique(column("photographs", "image_path"))), "objects": len(column("photographs", "key")),
        **{f"pairs_{split}": splits[split] for split in SPLITS},
        **{table: len(column(table, "key")) for table in ("retouches", "composites", "rejects")},
    }
    return {**{name: float(value) for name, value in counts.items()}, "median_composite_fmse": float(np.median(fmse)) if len(fmse) else 0.0}
