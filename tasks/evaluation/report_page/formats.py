"""How the page writes numbers, tables and names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluation.measurements import CHAMPION, COMPOSITE, HARMONIZED
from tasks.evaluation.metrics import METRICS

LABELS = {
    COMPOSITE: "untouched composite", "reinhard": "Reinhard", "lab_shift": "half a mean shift in Lab",
    "monge_kantorovich": "Monge-Kantorovich", CHAMPION: "current champion", HARMONIZED: "harmonized (ours)",
}
KINDS = {COMPOSITE: "composite", HARMONIZED: "ours"}  # classes of the page's style; any other method is "other"


@dataclass(frozen=True)
class Head:
    """A column's head."""

    text: str
    number: bool = True  # whether it holds numbers


@dataclass(frozen=True)
class Line:
    """A row of a table; the first cell names it."""

    cells: Sequence[str]
    ours: bool = False


@dataclass(frozen=True)
class Table:
    """A table of words and formatted numbers."""

    caption: str
    heads: Sequence[Head]
    rows: Sequence[Line]


def label_of(method: str) -> str:
    """The method's name for people."""
    return LABELS.get(method, method)


def kind_of(method: str, *, otherwise: str = "other") -> str:
    """The class that gives the method its colour."""
    return KINDS.get(method, otherwise)


def number(value: float, metric: str = "") -> str:
    """A metric's value with its own digits; another number with three significant ones."""
    if metric in METRICS:
        return f"{value:,.{METRICS[metric].digits}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def share(value: float) -> str:
    """A share in percent."""
    return f"{value:.0%}" if value >= 0.095 or value == 0 else f"{value:.1%}"


def thousands(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def counted(number_of: int, thing: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{thousands(number_of)} {thing}{'' if number_of == 1 else 's'}"


def fixed(value: float) -> str:
    """A number with two digits after the point."""
    return f"{value:.2f}"


def bucket_name(bucket: str) -> str:
    """A foreground bucket for people: `0-5` is 0 to 5 %."""
    return bucket.replace("-", " to ") + " %"


def sentence(text: str) -> str:
    """`text` with a capital at its start; a word that has capitals of its own, like fMSE, stays as it is."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def slug(text: str) -> str:
    """`text` as an element's id: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "untitled"


def table_of(caption: str, names: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> Table:
    """`rows` by the columns `names` (key: head); whole numbers are grouped, and a column with text in any row is one of words."""
    wordy = {key for key in names if any(not isinstance(row.get(key, 0), int | float) for row in rows)}
    heads = [Head(head, key not in wordy) for key, head in names.items()]
    return Table(caption, heads, [Line([_cell(row.get(key, "")) for key in names]) for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, float) and not value.is_integer():
        return number(value)
    return thousands(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
