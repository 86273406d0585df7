"""What a person sees of a stage: a progress bar, plain lines where nobody watches, and one line for a fault of theirs."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]

QUIET_SECONDS = 10.0  # between two plain lines
SLOW_SECONDS = 2.0  # what is over sooner needs no line

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def progress(description: str) -> Iterator[Advance]:
    """A callback `advance(done, total)`: a bar on a terminal, a line every ten seconds elsewhere."""
    if not console.is_terminal:
        yield _plain_lines(description)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


@contextmanager
def working(description: str) -> Iterator[None]:
    """Say what goes on while nothing can be counted: a spinner on a terminal, afterwards a line if it took over two seconds."""
    began = time.monotonic()
    with console.status(description):
        yield
    if (seconds := time.monotonic() - began) > SLOW_SECONDS:
        console.print(f"{description}: {seconds:.0f} s")


def _plain_lines(description: str) -> Advance:
    began = said = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if done >= total or now - said >= QUIET_SECONDS:
            said = now
            console.print(f"{description}: {done} of {total}, {now - began:.0f} s")

    return advance


@contextmanager
def faults_as_lines(name: str) -> Iterator[None]:
    """Turn an exception into what a person can use, and exit code 1 (130 after Ctrl-C).

    ValueError and OSError are a user's or a file's fault: one red line. Anything else is ours: its traceback, our own frames only.
    ATTUNE_TRACEBACK=1 shows every exception whole.
    """
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"[red]{name}: interrupted[/red]")
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("ATTUNE_TRACEBACK"):
            raise
        if not isinstance(error, ValueError | OSError):
            console.print(escape(_own_frames(error)), style="dim")
        console.print(f"[bold red]{name}: {escape(_message(error))}[/bold red]")
        raise SystemExit(1) from None


def _message(error: Exception) -> str:
    message = str(error).strip()
    return message if isinstance(error, ValueError) and message else f"{type(error).__name__}: {message}"


def _own_frames(error: Exception) -> str:
    root = str(Path(__file__).parents[1]) + os.sep
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(root) and not frame.filename.startswith(sys.prefix)
    ]
    return "".join(traceback.format_list(frames)) + "ATTUNE_TRACEBACK=1 shows every frame."
