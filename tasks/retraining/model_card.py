"""A model's card: what it is, what it was made of, how it did and why it was let through, in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.release import Figures, Rule, Verdict

MAX_LENGTH = 4900  # the registry's limit on a description is 5000
MAX_RULES = 16  # of groups there may be many: those that refuse are told first
MAX_DETAIL = 120  # characters


@dataclass(frozen=True)
class Origin:
    """What a model was made of."""

    git_commit: str
    data_version: str
    dvc_lock: str
    seed: int
    architecture: Mapping[str, Any]  # the harmonizer's config
    num_parameters: int
    data_counts: Mapping[str, float]  # data/metrics/ingest.json


def write_card(origin: Origin, figures: Figures, champion: Figures | None, verdict: Verdict) -> str:
    """The card, at most `MAX_LENGTH` characters."""
    settings = ", ".join(f"{name} {value}" for name, value in sorted(origin.architecture.items()))
    counts = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in sorted(origin.data_counts.items()))
    parts = [
        "# Image harmonizer\n",
        "A composite and its mask in; out comes the composite with light and colour of the pasted object made to fit. Predicts curves per "
        "channel and a smooth shading map at a small size, applied at any size; where the mask is 0 nothing changes.\n",
        f"The gate: **{verdict.word}**.\n",
        "## How it did\n", figures_table(figures, champion),
        "\n## The gate\n", rules_table(verdict.rules),
        "\n## What it is made of\n",
        f"- code: commit `{origin.git_commit}`\n- data: `{origin.data_version}` ({counts})\n- pipeline: dvc.lock `{origin.dvc_lock[:16]}`, "
        f"seed {origin.seed}\n- network: {origin.num_parameters:,} parameters; {settings}\n",
        "## Limits\n",
        "Curves act on each channel alone: a colour that is gone cannot be brought back. Measured on the test split of its own data: "
        "photographs of another kind may fare worse. It judges by statistics of both regions, and knows nothing of shadows.\n",
    ]
    card = "\n".join(parts)
    return card if len(card) <= MAX_LENGTH else card[: MAX_LENGTH - 4] + "\n..."


def figures_table(figures: Figures, champion: Figures | None) -> str:
    """Mean fMSE of the untouched composite, the champion and this model by benchmark, as a Markdown table."""
    lines = ["| benchmark | images | composite fMSE | champion | this model |", "|---|---:|---:|---:|---:|"]
    theirs = _by_benchmark(champion.images) if champion else {}
    for name, rows in _by_benchmark(figures.images).items():
        before = f"{_mean(theirs[name], 'fmse'):.1f}" if name in theirs else "none"
        lines.append(f"| {name} | {len(rows)} | {_mean(rows, 'composite_fmse'):.1f} | {before} | {_mean(rows, 'fmse'):.1f} |")
    return "\n".join(lines)


def rules_table(rules: Sequence[Rule]) -> str:
    """Each rule's number, limit and verdict, those that refuse first, as a Markdown table."""
    words = {True: "passes", False: "**refuses**", None: "cannot tell"}
    ordered = sorted(rules, key=lambda rule: rule.passed is not False)
    lines = ["| rule | number | limit | verdict | |", "|---|---:|---:|---|---|"]
    for rule in ordered[:MAX_RULES]:
        lines.append(f"| {rule.name} | {rule.value:.4g} | {rule.limit:g} | {words[rule.passed]} | {rule.detail[:MAX_DETAIL]} |")
    if len(ordered) > MAX_RULES:
        lines.append(f"| {len(ordered) - MAX_RULES} more | | | see verdict.json | |")
    return "\n".join(lines)


def _by_benchmark(images: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in images.to_pylist():
        found.setdefault(row["benchmark"], []).append(row)
    return found


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    return float(sum(row[column] for row in rows) / len(rows))
