"""SycoNet's draws beside draws that nobody learned: the figures of a stage, and a finding for the report."""

from collections.abc import Mapping

from models.syconet import SycoNet
from tasks.augmentation.pairs import Stacks
from tasks.augmentation.quality import BEST_OF, Quality, measure_quality
from tasks.augmentation.samplers import jitter_sampler, syconet_sampler, table_sampler
from tasks.evaluation.findings import Estimate, Finding
from tasks.params import Synthesis

NAMES = {"syconet": "SycoNet", "jitter": "random jitter", "tables": "random smooth tables"}
MAX_PAIRS = 128  # held-out pairs that draws are measured on


def measure_samplers(model: SycoNet, pairs: Stacks, limits: Synthesis, *, seed: int) -> dict[str, Quality]:
    """The quality of "syconet", "jitter" and "tables" on the same held-out `pairs`. `model`: on the CPU, in evaluation mode."""
    samplers = {"syconet": syconet_sampler(model, seed), "jitter": jitter_sampler(seed), "tables": table_sampler(seed)}
    return {name: measure_quality(sampler, pairs, limits) for name, sampler in samplers.items()}


def quality_metrics(found: Mapping[str, Quality]) -> dict[str, float]:
    """Flat figures: `coverage_<K>_<sampler>` of 1 for the untouched photograph, shares of implausible draws, diversity, strength."""
    metrics: dict[str, float] = {}
    for name, quality in found.items():
        metrics |= {f"coverage_{most}_{name}": round(value, 4) for most, value in quality.coverage.items()}
        metrics |= {f"{fault}_{name}": round(share, 4) for fault, share in quality.implausible.items()}
        metrics |= {f"diversity_{name}": round(quality.diversity, 3), f"draw_fmse_{name}": round(quality.strength, 3)}
    return {**metrics, "background_exact": float(all(quality.background_exact for quality in found.values()))}


def quality_finding(found: Mapping[str, Quality], *, num_pairs: int, identity_fmse: float) -> Finding:
    """Coverage as a finding; plausibility and diversity stand in its note."""
    told = "; ".join(
        f"{NAMES[name]}: {quality.implausible['any']:.1%} ({quality.implausible['clipped']:.1%} clipped, "
        f"{quality.implausible['banded']:.1%} banded, {quality.implausible['turned']:.1%} not monotone), {quality.diversity:.1f} dE"
        for name, quality in found.items()
    )
    ten = {name: quality.coverage[10] for name, quality in found.items()}
    ahead = "nearer" if ten["syconet"] < min(ten["jitter"], ten["tables"]) else "not nearer"
    return Finding(
        section="ablations and claims",
        title="Do SycoNet's draws reach true composites that it never saw?",
        note=(
            f"The best of K draws for each of {num_pairs} validation composites, from which the untouched photographs are "
            f"{identity_fmse:.0f} away. SycoNet's best of ten comes {ahead} than the best of ten that nobody learned. Implausible draws, "
            f"and the mean CIEDE2000 between two draws of one photograph: {told}."
        ),
        measure="mean fMSE of the best of K draws, share of the untouched photograph's",
        better="lower",
        estimates=tuple(
            Estimate(NAMES[name], round(quality.coverage[most], 4), count=num_pairs, group=f"best of {most}")
            for most in BEST_OF for name, quality in found.items()
        ),
        command="dvc repro fit_syconet",
    )
