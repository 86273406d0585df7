"""The public pages: links lead somewhere, commands exist, references are in step with the code. Each guard is shown to be able to fail."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image
from released_models import write_released_model

from attune import chosen_model
from attune.cli import main as attune_main
from attune.rejects import RejectReason
from docs import pictures
from docs.params_reference import PAGE, as_markdown, flatten, leaves
from tasks.index import TABLES
from tasks.params import Params
from tasks.shard_samples import SAMPLES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MAX_README_LINES = 150
KINDS = {  # of columns, as the formats page calls them
    "text": pa.string(), "word": pa.dictionary(pa.int32(), pa.string()),
    "int32": pa.int32(), "float32": pa.float32(), "uint64": pa.uint64(),
}


# --- Links ------------------------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them: lower case, punctuation gone, blanks to hyphens, repeats numbered."""
    found: dict[str, int] = {}
    names = set()
    for title in re.findall(r"^#+ +(.+)$", without_code(page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return names


def without_code(text: str) -> str:
    """A page without its code blocks, fenced or indented."""
    return re.sub(r"^ {4}.*$", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE)


def broken_links(page: Path) -> list[str]:
    """The relative links and pictures of a page that lead nowhere: to no file of exactly that name, or to no heading."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        there = path.exists() and path.name in {entry.name for entry in path.parent.iterdir()}
        if not there or (anchor and anchor not in anchors(path)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_of_the_pages_leads_somewhere(page: Path) -> None:
    assert not broken_links(page)


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n[a](#one-two-three) [b](gone.md) [c](#gone) ![d](Page.md) [e](page.md#one)\n")
    assert broken_links(page) == ["gone.md", "#gone", "Page.md", "page.md#one"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
            waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]
    assert seen >= set(PAGES) - {ROOT / "docs/README.md"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


# --- Commands ---------------------------------------------------------------------------------------------------------------------------


def commands(page: Path) -> list[str]:
    """The shell commands of a page's fenced blocks, without their remarks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = (re.sub(r"\s+# .*$", "", line).strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def make_targets() -> dict[str, str]:
    """The Makefile's commands by name, each with its recipe."""
    text = (ROOT / "Makefile").read_text()
    return {found[1]: found[0] for found in re.finditer(r"^([a-z-]+):.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)}


def attune_flags() -> dict[str, set[str]]:
    """The subcommands of `attune`, each with its flags."""
    import typer.main

    from attune.cli import app

    group: Any = typer.main.get_command(app)
    return {name: {flag for param in command.params for flag in param.opts} for name, command in group.commands.items()}


def fault_of(command: str) -> str | None:
    """What is wrong with a command that a page shows; None if the project, or a tool that it uses, has it."""
    words = shlex.split(command)
    name, rest = words[0], words[1:]
    if name == "make":
        recipe = make_targets().get(rest[0], "") if rest else "help"
        lacking = [word for word in rest[1:] if f"$({word.partition('=')[0]})" not in recipe]
        return None if recipe and not lacking else f"{command}: no such target, or it does not read {lacking}"
    if name == "attune":
        flags = attune_flags()
        lacking = [word for word in rest[1:] if word.startswith("-") and word not in flags.get(rest[0], set())]
        return None if rest[0] in flags and not lacking else f"{command}: no such subcommand, or it has no {lacking}"
    if name == "dvc":
        from dvc.cli.parser import get_main_parser

        try:
            get_main_parser().parse_args(rest)
        except (SystemExit, Exception) as error:
            return f"{command}: dvc does not take it ({error!r})"
        return None
    return None if name in ("pip", "source", "prefect", "git") else f"{command}: a tool that the tests do not know"


SHOWN = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=lambda value: value.name if isinstance(value, Path) else value)
def test_every_command_of_the_pages_exists_with_its_flags(page: Path, command: str) -> None:
    assert fault_of(command) is None, page


@pytest.mark.parametrize(
    "command", ["make ready", "make bench FILE=x", "attune harmonise a", "attune harmonize --force", "dvc paint", "magic"]
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    assert fault_of(command) is not None


def test_make_help_names_every_command_of_the_pages() -> None:
    said = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = {shlex.split(command)[1] for _, command in SHOWN if command.startswith("make ")}
    assert not {name for name in shown if f"make {name} " not in said}


# --- References -------------------------------------------------------------------------------------------------------------------------


def test_the_reference_of_params_is_in_step_with_params_and_schema() -> None:
    assert PAGE.read_text() == as_markdown(ROOT), "run `make docs`"


def test_the_reference_of_params_has_a_row_for_every_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [key for key, _, _ in leaves(Params, yaml.safe_load((ROOT / "params.yaml").read_text()))]
    assert len(rows) > 150


def test_params_yaml_says_something_of_every_key() -> None:
    cells = [re.split(r" (?<!\\)\| ", line.strip("| \n")) for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [row[0] for row in cells if not row[3].strip()] == []


def unknown_keys(page: Path) -> list[str]:
    """What a page writes as a key of params.yaml, and is none: neither a key, nor a section or a mapping of keys."""
    known = {key for key, _ in flatten(yaml.safe_load((ROOT / "params.yaml").read_text()))}
    sections = "|".join(name for name in Params.model_fields if name != "seed")
    return [key for key in re.findall(rf"`((?:{sections})\.[\w.]+)", page.read_text()) if key.rstrip(".") not in known and "/" not in key]


@pytest.mark.parametrize("page", [page for page in PAGES if page != PAGE], ids=lambda page: page.name)
def test_every_key_of_params_that_a_page_names_is_one(page: Path) -> None:
    assert not unknown_keys(page)


def test_a_key_that_is_none_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`seed`, `train.batch_size: 3`, `ingest.sources`, `evaluate.json`")
    assert unknown_keys(page) == ["train.batch_size", "evaluate.json"]


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of formats.md."""
    text = (ROOT / "docs/formats.md").read_text()
    table = re.search(rf"^#+ {re.escape(heading)}\n.*?^\|.*?\n\|[-|]+\n(.*?)^\s*$", text, re.MULTILINE | re.DOTALL)
    assert table is not None, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


@pytest.mark.parametrize(("name", "schema"), [*TABLES.items(), ("samples", SAMPLES)])
def test_the_columns_of_the_formats_page_are_those_of_the_schema(name: str, schema: pa.Schema) -> None:
    told = [(row[0].strip("`"), KINDS[row[1]]) for row in rows_of(name)]
    assert told == [(field.name, field.type) for field in schema]


def test_the_formats_page_lists_every_reason_to_reject() -> None:
    text = (ROOT / "docs/formats.md").read_text()
    assert [reason.value for reason in RejectReason if f"| `{reason.value}` |" not in text] == []


# --- What artists read, run for real ----------------------------------------------------------------------------------------------------

FOR_ARTISTS = [ROOT / "README.md", ROOT / "docs/artist.md"]


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray]
) -> Path:
    """The current folder, with every file that the pages' examples begin with; the model inside the package is a small one."""
    model = write_released_model(tmp_path / "data/checkpoints/harmonizer")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chosen_model, "EMBEDDED", model / "model.json")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    small, large = Image.fromarray(photograph(60, 80, 5)), Image.fromarray(photograph(120, 160, 5))
    for folder in ("pasted", "masks"):
        Path(folder).mkdir()
    for name in ("pasted.jpg", "pasted.png", "pasted/one.jpg", "pasted/two.png"):
        small.save(name)
    for name in ("mask.png", "masks/one.png", "masks/two.png"):
        Image.fromarray(object_mask(60, 80)).save(name)
    large.save("larger.tif")
    Image.fromarray(object_mask(120, 160)).save("larger_mask.tif")
    return tmp_path


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", FOR_ARTISTS, ids=lambda page: page.name)
def test_the_attune_commands_of_the_pages_run_one_after_the_other(page: Path) -> None:
    shown = [shlex.split(command)[1:] for command in commands(page) if command.startswith("attune ") and "doctor" not in command]
    assert len(shown) >= 5
    for words in shown:
        with pytest.raises(SystemExit) as ended:
            attune_main(words)
        assert ended.value.code in (0, None), words
        for flag, out in pairwise(words):
            assert flag not in ("-o", "--out") or "--dry-run" in words or Path(out).exists(), words


def python_blocks(page: Path) -> list[str]:
    """The Python of a page's fenced blocks, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", FOR_ARTISTS, ids=lambda page: page.name)
def test_the_python_of_the_pages_runs(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in python_blocks(page):
        exec(compile(block, page.name, "exec"), names)
    assert "attune" in names


@pytest.mark.slow
def test_the_pictures_of_the_pages_can_be_drawn_anew(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FOLDER", desk)
    pictures.main()
    assert all((desk / name).stat().st_size > 10_000 for name in ("fitted.jpg", "failures.jpg", "pasted.jpg", "strength.jpg"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_every_page_compiles(page: Path) -> None:
    for block in python_blocks(page):
        compile(block, page.name, "exec")


# --- What is said of the project in several files ----------------------------------------------------------------------------------------


def test_licence_version_and_citation_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    assert project["version"] == citation["version"]
    assert f"\n## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_tree_of_the_design_page_names_every_room(repository: Path) -> None:
    text = (ROOT / "docs/design.md").read_text()
    rooms = {path.parent.name for package in ("flows", "tasks", "models", "attune") for path in (repository / package).rglob("__init__.py")}
    assert not {room for room in rooms if f"{room}/" not in text}
