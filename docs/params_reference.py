"""docs/params.md, written from params.yaml (values, comments), its schema (what is allowed) and the profiles: `make docs`.

Every key of the schema gets a row, so a key without a comment of its own shows as one that says nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel

from tasks.params import OneOf, Params, options_schema

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/params.md"
OPTIONS = "train.model.options"  # of each architecture its own: a mapping by name
PROFILES = ("photos", "paper")  # those that people lay over the default
KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
WORDS = {"ge": "at least {:g}", "gt": "above {:g}", "le": "at most {:g}", "lt": "below {:g}", "min_length": "at least {:g} of them"}
COLUMNS = ("key", "default", "allowed", "what it is", "profiles")
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w-]+):(?P<rest>.*)$")
HEADING = """# Every key of `params.yaml`

*Written by `make docs` from `params.yaml`, its schema and the profiles. Do not edit it by hand: a test holds it to them.*

`params.yaml` is the only home of a value: the code holds no defaults. An unknown key, a missing one or a value out of
range is refused with its name and its limit. Change a value in the file, for one experiment (`dvc exp run -S
train.optimizer.steps=2000`), or lay a whole profile over the file (`make configure PROFILE=photos`). "Profiles" says
where a profile sets another value. What the words mean stands in the [glossary](glossary.md).
"""


def write_page(page: Path = PAGE) -> None:
    """Write the page anew."""
    page.write_text(as_markdown(ROOT))


def as_markdown(root: Path) -> str:
    """The page, from the files below `root`."""
    text = (root / "params.yaml").read_text()
    values, comments = yaml.safe_load(text), read_comments(text)
    profiles = {name: dict(flatten(yaml.safe_load((root / f"profiles/{name}.yaml").read_text()))) for name in PROFILES}
    sections: dict[str, list[str]] = {}
    for key, annotation, metadata in leaves(Params, values):
        value = value_at(values, key)
        changed = [f"{name}: {shown(found[key])}" for name, found in profiles.items() if key in found and found[key] != value]
        cells = (f"`{key}`", shown(value), allowed(annotation, metadata), comment_of(key, comments), ", ".join(changed))
        sections.setdefault(key.partition(".")[0] if "." in key else "", []).append(as_row(cells))
    return HEADING + "".join(as_section(name, rows, comments) for name, rows in sections.items())


def as_section(name: str, rows: list[str], comments: Mapping[str, str]) -> str:
    """A heading, what params.yaml says of the section, and its table."""
    said = comments.get(name, "")
    about = f"{said[0].upper()}{said[1:]}.\n\n" if said else ""
    title = f"`{name}`" if name else "The whole run"
    return f"\n## {title}\n\n{about}{as_row(COLUMNS)}|---|---|---|---|---|\n{''.join(rows)}"


def as_row(cells: tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def leaves(model: type[BaseModel], values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, list[Any]]]:
    """Each key of the schema that holds one of `values`, in its order: (dotted key, type, limits)."""
    for name, field in model.model_fields.items():
        kind = options_schema() if f"{prefix}{name}" == OPTIONS else field.annotation
        if name not in values:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, values[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.annotation, field.metadata


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type and its limits in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    known = [item.func.names() for item in metadata if isinstance(item, AfterValidator) and isinstance(item.func, OneOf)]
    if known:
        said = ", ".join(f"`{name}`" for name in known[0])
    elif hasattr(annotation, "__metadata__"):
        said = allowed(arguments[0], [*annotation.__metadata__, *metadata])
    elif origin is Literal:
        said = ", ".join(f"`{choice}`" for choice in arguments)
    elif origin in (Union, UnionType):
        said = " or ".join("null" if choice is NoneType else allowed(choice, metadata) for choice in arguments)
    elif origin in (list, tuple):
        said = f"list of {allowed(arguments[0])}{limits(metadata)}"
    elif origin is dict:
        said = f"names and, for each, {allowed(arguments[1])}"
    elif issubclass(annotation, BaseModel):
        said = "; ".join(f"{name}: {allowed(field.annotation, field.metadata)}" for name, field in annotation.model_fields.items())
    else:
        said = f"{KINDS[annotation]}{limits(metadata)}"
    return said


def limits(metadata: Sequence[Any]) -> str:
    """The limits of a value in words, with a leading comma; nothing where there are none."""
    found: dict[str, Any] = {}
    for item in metadata:
        for limit in (item, *getattr(item, "metadata", ())):  # pydantic's Field holds them, or is resolved to them
            found |= {name: getattr(limit, name) for name in WORDS if getattr(limit, name, None) is not None}
    return f", {' and '.join(WORDS[name].format(limit) for name, limit in found.items())}" if found else ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted key; each mapping by its own key too."""
    for name, value in values.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    found: Any = values
    for name in key.split("."):
        found = found[name]
    return found


def shown(value: Any) -> str:
    """A value as YAML spells it on one line."""
    if isinstance(value, float) and value != 0 and abs(value) < 0.01:
        return f"`{value:g}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip().removesuffix("...").strip()
    return f"`{text}`"


def comment_of(key: str, comments: Mapping[str, str]) -> str:
    """What params.yaml says of a key: beside it, or beside the mapping that it stands in; empty if it says nothing."""
    if key in comments:
        return comments[key]
    outer = key.rpartition(".")[0]
    return f"of {outer.rpartition('.')[2]}: {comments[outer]}" if "." in outer and outer in comments else ""


def read_comments(text: str) -> dict[str, str]:
    """By dotted key: the comment at the end of its line, and the comment lines that stand right above it."""
    comments: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().lstrip("#").strip())
            continue
        found = LINE.match(line)
        if found is None:
            above = []
            continue
        indent = len(found["indent"])
        path = [*((level, name) for level, name in path if level < indent), (indent, found["key"])]
        beside = re.search(r"(?:^|\s)#\s?(.*)$", found["rest"])
        said = [*above, *([beside[1].strip()] if beside else [])]
        if said:
            comments[".".join(name for _, name in path)] = " ".join(said)
        above = []
    return comments


if __name__ == "__main__":
    write_page()
