"""What a source tells of itself, once: how it is listed, what its folder looks like, and what else is to be known of it."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.params import Params
from tasks.sources.candidates import Candidates


@dataclass(frozen=True)
class Source:
    """A kind of data set. Its name is its key in `tasks.sources.registry.SOURCES`, in `ingest.sources` and in the index."""

    list: Callable[[Params], Candidates]  # all that it has, before any file is opened
    layout: str  # of its folder below `paths.raw`, in a few words; empty: it needs none
    has_several_folders: bool = False  # whether `ingest.folders` may name more than one
    make: Callable[[Params], None] | None = None  # writes its files, before it is listed
    takes_new: bool = False  # whether new samples may come by way of the inbox (tasks/retraining/inbox.py)
    list_file: tuple[str, str] | None = None  # the list that an inbox may have, and the column that names its samples
