"""The command line `attune`: harmonize pictures, export an edit for other tools, check the installation.

OpenCV, ONNX Runtime and numba are imported where a command needs them: `attune --help` answers at once.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from attune.batch import Folders
    from attune.edits import Points
    from attune.harmonizing import Job, Settings

BATCH, HAND = "A whole folder", "The edit by hand"
EXAMPLES = """
[bold]Examples[/bold]

  attune harmonize pasted.jpg mask.png -o fitted.jpg

  attune harmonize pasted.tif mask.png -o fitted.tif --strength 0.7 --shading 0 --params edit.json

  attune harmonize --composites pasted/ --masks masks/ --out fitted/ --dry-run
"""
EXPORT_EXAMPLES = """
[bold]Example[/bold]

  attune harmonize pasted.jpg mask.png -o fitted.jpg --params edit.json

  attune export edit.json -o for_other_tools --like pasted.jpg
"""

console, errors = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="Make a pasted object fit the light and colour of its new background.",
)


def main(arguments: list[str] | None = None) -> None:
    """The console script. A fault of a user or of a file is one line; the exit code is 1 then, 2 for a wrong call, 130 after Ctrl-C."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # --max-megapixels is the limit, and refuses where Pillow only warns
    warnings.filterwarnings("ignore", module="PIL")  # remarks on damaged metadata, which are kept as they are
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a damaged file is reported by us, once
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # idle threads of OpenMP would spin on the cores that decode and encode
    try:
        app(arguments)
    except (ValueError, OSError) as error:
        if os.environ.get("ATTUNE_TRACEBACK"):
            raise
        _fail(" ".join(str(error).split()) or type(error).__name__)
        sys.exit(1)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of "1920x1080" (width x height). ValueError for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()) or not 1 <= int(width) * int(height) <= 10**9:
        raise ValueError(f"--size {text}: it must be width x height in px, such as 1920x1080")
    return int(height), int(width)


Picture = Annotated[Path | None, typer.Argument(help="The picture with the pasted object: JPEG, PNG, TIFF or WebP, 8 or 16 bit.")]
Mask = Annotated[Path | None, typer.Argument(help="White where the object is, soft edges allowed; resized if only its size differs.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The result. Its suffix chooses the format; a folder in the batch form.")]
Plate = Annotated[Path | None, typer.Option(help="The background without the object, for models that take one.")]
Model = Annotated[
    str | None, typer.Option(help="A released model: its folder or .onnx file. In the workshop also an alias of its registry.")
]
Limit = Annotated[float, typer.Option(min=0.001, max=4000, help="Larger pictures are refused.")]
Quality = Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP. Default: the composite's own.")]
Params = Annotated[
    Path | None,
    typer.Option(help="The model's edit as JSON, before strength, shading and curves: applied with them if the file is there, else saved "
                      "to it. Batch: one for all, or a folder.", rich_help_panel=HAND),
]
Composites = Annotated[Path | None, typer.Option(help="A folder of composites.", rich_help_panel=BATCH)]
Masks = Annotated[Path | None, typer.Option(help="A folder of masks: the same names, any suffix.", rich_help_panel=BATCH)]
Plates = Annotated[Path | None, typer.Option(help="A folder of plates: the same names, any suffix.", rich_help_panel=BATCH)]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Pictures at once.", rich_help_panel=BATCH)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make finished results anew.", rich_help_panel=BATCH)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and what is wrong.", rich_help_panel=BATCH)]
Strength = Annotated[
    float, typer.Option(min=0, max=2, help="0 changes nothing, 1 is the model's edit, 2 twice as far.", rich_help_panel=HAND)
]
Shading = Annotated[float, typer.Option(min=0, max=2, help="Strength of the shading alone; 0 leaves it out.", rich_help_panel=HAND)]
Curve = Annotated[str | None, typer.Option(help="A curve instead of the model's: '0,0 128,140 255,255'.", rich_help_panel=HAND)]


@app.command(no_args_is_help=True, epilog=EXAMPLES)
def harmonize(  # noqa: PLR0917
    composite: Picture = None, mask: Mask = None, out: Out = None, model: Model = None, plate: Plate = None, quality: Quality = None,
    max_megapixels: Limit = 120, strength: Strength = 1.0, shading: Shading = 1.0, red: Curve = None, green: Curve = None,
    blue: Curve = None, params: Params = None, composites: Composites = None, masks: Masks = None, plates: Plates = None, jobs: Jobs = 2,
    overwrite: Overwrite = False, dry_run: DryRun = False,
) -> None:
    """Harmonize one picture, or a folder of them.

    Where the mask is black every pixel stays as it is, bit for bit in PNG, TIFF and lossless WebP; a JPEG is encoded with its own tables.

    EXIF, colour profile and captions are kept. Of a folder, what is finished is skipped.
    """
    from attune.harmonizing import Settings

    settings = Settings(
        strength=strength, shading=shading, quality=quality, max_megapixels=max_megapixels,
        curves=_drawn_curves(red, green, blue),
    )
    if composites is not None and masks is not None and out is not None and composite is None and mask is None and plate is None:
        from attune.batch import Folders

        _harmonize_folder(Folders(composites, masks, out, plates, params), settings, model, jobs, overwrite=overwrite, dry_run=dry_run)
    elif composite is not None and mask is not None and out is not None and composites is None and masks is None and plates is None:
        from attune.harmonizing import Job

        _harmonize_one(Job(composite, mask, out, plate, params), settings, model, dry_run=dry_run)
    else:
        raise typer.BadParameter("give COMPOSITE MASK -o OUT, or --composites FOLDER --masks FOLDER --out FOLDER")


@app.command(no_args_is_help=True, epilog=EXPORT_EXAMPLES)
def export(  # noqa: PLR0917
    edit: Annotated[Path, typer.Argument(help="An edit as `attune harmonize --params` saved it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the files.")],
    like: Annotated[Path | None, typer.Option(help="The picture that the shading map is for: it gets its size.")] = None,
    size: Annotated[str, typer.Option(help="The shading map's size without --like.")] = "1024x1024",
    max_megapixels: Limit = 120, strength: Strength = 1.0, shading: Shading = 1.0, red: Curve = None, green: Curve = None,
    blue: Curve = None,
) -> None:
    """Write an edit for other tools: .cube tables, a shading map, JSON. Options for the edit by hand are those of `attune harmonize`.

    Apply the table to a copy of the layer, lay the shading map over it in the mode "multiply", brighten by the factor that is printed.

    Then put the mask on the result.
    """
    from attune.edit_export import export_edit
    from attune.edits import adjust_edit, read_edit
    from attune.photo_files import read_header

    found = adjust_edit(read_edit(edit), strength, shading=shading, curves=_drawn_curves(red, green, blue))
    if like is not None:
        header = read_header(like, max_megapixels=max_megapixels)
        height, width = header.height, header.width
    else:
        height, width = parse_size(size)
    for name, said in export_edit(out, found, height, width).files.items():
        console.print(escape(f"{out / name}: {said}"))


@app.command()
def doctor(model: Model = None) -> None:
    """Check the installation: a line per part; exit code 1 if something that is needed is missing."""
    from attune.doctor import examine

    colors = {"ok": "green", "note": "yellow", "FAIL": "bold red"}
    failed = False
    for finding in examine(model):
        console.print(f"[{colors[finding.verdict]}]{finding.verdict:<4}[/]  {finding.part:<12} {escape(finding.said)}")
        failed = failed or finding.verdict == "FAIL"
    raise typer.Exit(1 if failed else 0)


# --- Inside -----------------------------------------------------------------------------------------------------------------------------


def _drawn_curves(red: str | None, green: str | None, blue: str | None) -> "dict[str, Points]":
    from attune.edits import parse_points
    from attune.operators.curves import CHANNELS

    drawn = {name: text for name, text in zip(CHANNELS, (red, green, blue), strict=True) if text is not None}
    return {name: parse_points(text, name=f"--{name}") for name, text in drawn.items()}


def _harmonize_one(job: "Job", settings: "Settings", model: str | None, *, dry_run: bool) -> None:
    from attune.batch import Plan, foreseen_faults
    from attune.harmonizing import harmonize_file
    from attune.photo_writing import format_of

    format_of(job.out)
    sources = [path for path in (job.composite, job.mask, job.plate, job.params) if path is not None]
    if job.out.exists() and any(path.exists() and path.samefile(job.out) for path in sources):
        raise ValueError(f"{job.out}: the result would overwrite what it is made of")
    replayed = job.params is not None and job.params.exists()
    settings = _with_model(settings, model, wanted=not replayed)
    if dry_run:
        for fault in foreseen_faults(Plan((job,), (), ()), settings):
            raise ValueError(fault)
        console.print(escape(f"{job.composite} would become {job.out}"))
        return
    harmonize_file(job, settings)
    how = f"by the edit of {job.params}" if replayed else (f"the edit is in {job.params}" if job.params else "")
    console.print(escape(f"{job.out}{': ' + how if how else ''}"))


def _harmonize_folder(
    folders: "Folders", settings: "Settings", model: str | None, jobs: int, *, overwrite: bool, dry_run: bool
) -> None:
    from attune.batch import foreseen_faults, plan_batch, run_batch

    single = folders.params is not None and folders.params.is_file()
    settings = _with_model(settings, model, wanted=not single)
    plan = plan_batch(folders, settings, overwrite=overwrite)
    faults = list(plan.faults)
    for fault in faults:
        _fail(fault)
    if dry_run:
        foreseen = list(foreseen_faults(plan, settings))
        for fault in foreseen:
            _fail(fault)
        _summary("to harmonize", len(plan.jobs) - len(foreseen), len(plan.finished), len(faults) + len(foreseen))
        raise typer.Exit(1 if faults or foreseen else 0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        row = bar.add_task("harmonizing", total=len(plan.jobs))

        def done(job: "Job", fault: str | None) -> None:
            if fault is not None:
                faults.append(fault)
                _fail(fault if str(job.composite) in fault or str(job.mask) in fault else f"{job.composite}: {fault}")
            bar.advance(row)

        try:
            run_batch(plan, folders, settings, num_jobs=jobs, done=done)
        except KeyboardInterrupt:
            _fail("interrupted; the same command goes on where this one ended")
            raise typer.Exit(130) from None
    _summary("harmonized", len(plan.jobs) + len(plan.faults) - len(faults), len(plan.finished), len(faults))
    raise typer.Exit(1 if faults else 0)


def _with_model(settings: "Settings", model: str | None, *, wanted: bool) -> Any:
    from dataclasses import replace

    from attune.chosen_model import choose_model

    return replace(settings, model=choose_model(model).path) if wanted or model is not None else settings


def _summary(verb: str, num_done: int, num_finished: int, num_faults: int) -> None:
    finished = f", {num_finished} finished before (--overwrite makes them anew)" if num_finished else ""
    console.print(f"{num_done} {verb}{finished}, {num_faults} at fault")


def _fail(message: str) -> None:
    errors.print(f"[bold red]attune: {escape(message)}[/bold red]")
