"""What the page says of one case: its pictures, its numbers, and the edit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from attune.operators.curves import Curves
from attune.operators.shading import Shading
from tasks.evaluation.case_files import Case
from tasks.evaluation.measurements import COMPOSITE, HARMONIZED, Changed, Scored
from tasks.evaluation.report_page.charts import tone_curves
from tasks.evaluation.report_page.formats import Head, Line, Table, fixed, label_of, number, share
from tasks.evaluation.report_page.pictures import Picture, gain_range, shading_picture

PAIRS = (("composite", "harmonized"), ("harmonized", "target"), ("composite", "target"), ("composite", "mask"))  # to compare


def share_left(scored: Scored) -> float:
    """The harmonized image's foreground error as a share of the composite's."""
    return scored.fmse(HARMONIZED) / max(scored.fmse(COMPOSITE), 1e-9)


def case_view(case: Case, pictures: Sequence[Picture], name: str, place: int, other: str | None) -> dict[str, Any]:
    """What `case.html` shows. name: the element's id. place: its number. other: a method that stands beside ours."""
    row = case.measured.row
    shown = {picture.name for picture in pictures}
    view = {
        "id": name, "number": place, "label": case.label, "key": row["key"], "pictures": pictures, "alts": _alts(row),
        "ratio": round(pictures[0].height / pictures[0].width, 4), "start": _middle(case.mask),
        "pairs": [pair for pair in PAIRS if shown.issuperset(pair)],
        "numbers": _numbers(case.measured, other), "facts": _facts(case.measured), "curves": None, "shading": None, "steps": [],
    }
    if case.edit is not None:
        view["steps"] = [step.describe() for step in case.edit.steps]
        if (curves := case.edit.find(Curves)) is not None:
            view["curves"] = tone_curves(curves.values)
        if (shading := case.edit.find(Shading)) is not None:
            limits = min(shading.limit, 1 / shading.limit), max(shading.limit, 1 / shading.limit)
            view |= {"shading": shading_picture(shading, case.mask), "gains": gain_range(shading, case.mask), "limits": limits}
    return view


def _middle(mask: UInt8[np.ndarray, "H W"]) -> int:
    """Where the foreground's middle column lies, in percent: the divider starts there. An even number, as the divider's steps are."""
    weights = mask.sum(axis=0, dtype=np.int64)
    column = int(np.searchsorted(np.cumsum(weights), weights.sum() / 2))
    return 2 * round(50 * (column + 0.5) / int(mask.shape[1]))


def _alts(row: Any) -> dict[str, str]:
    thing = str(row.get("label") or "")
    subject = f"test image {row['key']}" + (f" ({thing})" if thing else "")
    return {
        "composite": f"Composite of {subject}: the foreground does not fit yet.", "harmonized": f"The harmonizer's answer to {subject}.",
        "target": f"The target of {subject}: the photograph as it was.", "mask": f"Mask of {subject}: the foreground in white.",
    }


def _numbers(measured: Scored | Changed, other: str | None) -> Table:
    shown = [method for method in (COMPOSITE, other, HARMONIZED) if method is not None]
    if isinstance(measured, Changed):
        rows = [
            Line([label_of(method), number(measured.changes[method], "delta_e")], ours=method == HARMONIZED)
            for method in shown if method != COMPOSITE
        ]
        return Table("", [Head("inside the mask", number=False), Head("change, dE2000")], rows)
    raw = {method: measured.scores[method]["raw"] for method in shown}
    return Table("", [Head("inside the mask", number=False), Head("fMSE"), Head("fPSNR, dB")], [
        Line([label_of(method), number(score.fmse, "fmse"), number(score.fpsnr, "fpsnr")], ours=method == HARMONIZED)
        for method, score in raw.items()
    ])


def _facts(measured: Scored | Changed) -> dict[str, str]:
    row = measured.row
    facts = {"error left": f"{fixed(share_left(measured))} of the composite's"} if isinstance(measured, Scored) else {}
    facts["foreground"] = f"{share(row['fg_ratio'])} of the image" + (f", {row['label']}" if row.get("label") else "")
    return facts | ({"composite made by": row["method"]} if row.get("method") else {})
