"""Haze, wash-out, human labels and verdicts by eye, in words."""

from collections.abc import Mapping
from typing import Any

from tasks.evaluation.eye_sheet import Judged
from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.haze import BEYOND, KEPT, MOVED
from tasks.evaluation.human_labels import NATURAL, REALISTIC, UNREALISTIC
from tasks.evaluation.measurements import HARMONIZED

PHOTOGRAPHS = "photographs that need nothing"


def appearance_findings(found: Mapping[str, Any], natural: Mapping[str, Mapping[str, Any]]) -> dict[str, Finding]:
    """What `metrics/appearance.json` holds in the report's form; nothing of what is not there.

    natural: what `metrics/naturalness.json` says of photographs that need nothing, by method.
    """
    tones = dict(found["tones"])
    if untouched := {method: row["haze"] for method, row in natural.items() if row["haze"] is not None}:
        tones[PHOTOGRAPHS] = untouched
    findings: dict[str, Finding] = {}
    if tones:
        findings |= {"haze": _haze(tones), "wash_out": _wash_out(tones)}
    if found["human_labels"]:
        findings["human_labels"] = _labels(found["human_labels"])
    return findings


def eye_finding(judged: Judged, model: str) -> Finding:
    """Someone's verdicts as shares. model: whose pictures this run shows."""
    counts = {"better": judged.better, "same": judged.same, "worse": judged.worse}
    note = (
        f"{judged.num_images} real composites drawn by lot, each looked at beside what was pasted: "
        f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}. The pictures are the sheets eye_1.png and on."
    )
    if judged.models != (model,):
        note += f"\nThe verdicts are of another model's pictures ({', '.join(judged.models)}), not of this run's ({model})."
    estimates = [Estimate(verdict, count / judged.num_images, count=count) for verdict, count in counts.items()]
    return Finding(
        section="without ground truth", title="Real composites by eye", note=note, better="neither",
        measure="share of the pictures that were judged", estimates=tuple(estimates),
    )


def _haze(tones: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Finding:
    said = [
        f"Share of pictures whose object's blacks (2nd percentile of luma) rise by more than {MOVED:g} grey levels and end more than "
        f"{BEYOND:g} above the background's. Where there is a target, its own share stands beside: what rightly happens to such composites."
    ]
    for name, methods in tones.items():
        if row := methods.get(HARMONIZED):
            said.append(
                f"{name}, harmonized: blacks {row['black_before']:.0f} before, {row['black_after']:.0f} after, background "
                f"{row['black_background']:.0f}; whites {row['white_before']:.0f}, {row['white_after']:.0f}, "
                f"{row['white_background']:.0f}; whites pulled down below the background's in {row['dulled']:.0%} of {row['num_images']}."
            )
    estimates = [
        Estimate(method, row["lifted"], row["lifted_low"], row["lifted_high"], row["num_images"], group=name)
        for name, methods in tones.items() for method, row in methods.items()
    ]
    return Finding(
        section="without ground truth", title="Does haze come in?", note="\n".join(said), better="lower",
        measure="share of pictures with lifted blacks", estimates=tuple(estimates), command="make pipeline",
    )


def _wash_out(tones: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Finding:
    lost = [
        f"{name} {row['washed_out']:.0%} of {row['num_no_reason']}"
        for name, methods in tones.items() for method, row in methods.items() if method == HARMONIZED and row["num_no_reason"]
    ]
    note = "The object's mean chroma after, over that before; the median over pictures."
    if lost:
        note += (
            f" Pictures that lose more than {1 - KEPT:.0%} of it though their background is no paler than the object, harmonized: "
            f"{', '.join(lost)}."
        )
    estimates = [
        Estimate(method, row["chroma_kept"], count=row["num_images"], group=name)
        for name, methods in tones.items() for method, row in methods.items()
    ]
    return Finding(
        section="without ground truth", title="Do colours wash out?", note=note, better="neither",
        measure="share of its chroma that the object keeps", estimates=tuple(estimates), command="make pipeline",
    )


def _labels(labels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Finding:
    said = [
        "Composites that people take for wrong, composites that they take for right, and photographs; nothing is trained on them. How "
        "likely one of the first is changed more (mean CIE76 inside the mask) than one of the others: 0.5 tells nothing apart, 1 all."
    ]
    for name, methods in labels.items():
        if row := methods.get(HARMONIZED):
            medians = {judgement: row["changes"][judgement]["median"] for judgement in (UNREALISTIC, REALISTIC, NATURAL)}
            said.append(f"{name}, harmonized, median change: {', '.join(f'{which} {value:.1f}' for which, value in medians.items())}.")
    estimates = [
        Estimate(method, row[key]["value"], row[key]["low"], row[key]["high"], group=f"{name}: {title}")
        for name, methods in labels.items()
        for key, title in (("against_natural", "against photographs"), ("against_realistic", "against composites that look right"))
        for method, row in methods.items()
    ]
    return Finding(
        section="without ground truth", title="Is changed most what people take for pasted?", note="\n".join(said), better="higher",
        measure="area under the ROC curve of change", estimates=tuple(estimates), command="make pipeline",
    )
