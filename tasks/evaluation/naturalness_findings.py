"""The answers to what can be measured without a ground truth, in words."""

from collections.abc import Mapping
from typing import Any

from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.measurements import NOTICED


def naturalness_findings(found: Mapping[str, Any]) -> dict[str, Finding]:
    """What `metrics/naturalness.json` holds (the fields of `Naturalness`) in the report's form; nothing of what was skipped."""
    findings = {}
    if found["probe"] is not None:
        findings["realism_probe"] = _realism(found["probe"], found["real_composites"])
    if found["natural_photographs"]:
        findings["natural_photographs"] = _disturbance(found["natural_photographs"])
    return findings


def _realism(probe: Mapping[str, Any], composites: Mapping[str, Mapping[str, Any]]) -> Finding:
    note = (
        f"A probe of colour and light, trained on {probe['num_training']} photographs, scores {probe['num_composites']} "
        f"{probe['composites']} real composites that nobody trained on. It tells {probe['num_natural']} unseen photographs from the "
        f"untouched composites with an AUC of {probe['auc']:.2f} ({probe['low']:.2f} to {probe['high']:.2f}; 0.5 is blind), and from the "
        f"same objects with each other's surroundings with {probe['exchanged_auc']:.2f}. 0 is the mean of the photographs: the goal. Above "
        "it objects match their surroundings better than in photographs."
    )
    estimates = [Estimate(name, row["score"], row["low"], row["high"], row["num_images"]) for name, row in composites.items()]
    return Finding(
        section="without ground truth", title="Do real composites look natural afterwards?", note=note, better="neither",
        measure="probe's score, in standard deviations of natural photographs", estimates=tuple(estimates), command="make pipeline",
    )


def _disturbance(photographs: Mapping[str, Mapping[str, Any]]) -> Finding:
    shares = ", ".join(f"{name} {row['share_noticed']:.0%}" for name, row in photographs.items())
    means = ", ".join(f"{name} {row['delta_e']:.1f}" for name, row in photographs.items())
    note = (
        "Unedited photographs of the test split with their own masks: a harmonizer should leave them alone. Share of photographs whose "
        f"object changes visibly (mean CIE76 over {NOTICED:g}): {shares}. Mean CIEDE2000: {means}."
    )
    changes = [
        Estimate(name, row["median_cie76"], row["median_cie76_low"], row["median_cie76_high"], row["num_images"])
        for name, row in photographs.items()
    ]
    return Finding(
        section="without ground truth", title="What happens to photographs that need nothing?", note=note, better="lower",
        measure="median over photographs of the mean CIE76 inside the mask", estimates=tuple(changes), command="make pipeline",
    )
