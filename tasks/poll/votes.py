"""The votes of a poll: one file of JSON Lines, appended to and never rewritten, a vote on the disk before it is confirmed.

Threads and processes may append at once. A process that is killed while it writes leaves at most a torn last line: whoever appends next
mends it, whoever reads meanwhile passes over it. That vote was never confirmed, so its rater is asked again.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Choice = Literal["left", "right", "neither"]
RaterId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]  # drawn at random in the rater's browser: says nothing of who that is
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]

_BLOCK = 65536


class Vote(BaseModel):
    """One rater's choice between two methods' pictures of one image."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    poll: _Name  # the digest of the pictures: votes on others are not mixed with these
    rater: RaterId
    image: _Name
    left: _Name  # the method whose picture stood there
    right: _Name
    choice: Choice
    milliseconds: Milliseconds  # from the pictures' appearance to the choice

    @property
    def comparison(self) -> tuple[str, str, str]:
        """What was compared, whichever side it stood on: the image, and both methods in alphabetical order."""
        first, second = sorted((self.left, self.right))
        return self.image, first, second


def append_vote(path: Path, vote: Vote) -> None:
    """Append `vote` to `path` as one line, and return when it is on the disk. Safe beside other threads and processes.

    Raises OSError if the disk refuses; what was written of the line by then counts for nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # falls with the descriptor, however the process ends
        _mend_tail(descriptor)
        line = memoryview(vote.model_dump_json().encode() + b"\n")
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_votes(path: Path) -> list[Vote]:
    """All votes of a file, in their order; none where there is no file. A torn last line is passed over.

    Raises ValueError naming file and line if another line is not a vote.
    """
    if not path.is_file():
        return []
    *lines, tail = path.read_bytes().split(b"\n")
    votes = []
    for number, line in enumerate(lines, start=1):
        try:
            votes.append(Vote.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{path}, line {number}: not a vote ({describe_faults(error)})") from None
    return votes + ([Vote.model_validate_json(tail)] if _is_vote(tail) else [])


def last_votes(votes: Iterable[Vote]) -> list[Vote]:
    """The votes that count: of each rater's votes on one comparison the last, for raters may go back and think again."""
    return list({(vote.poll, vote.rater, *vote.comparison): vote for vote in votes}.values())


def describe_faults(error: ValidationError) -> str:
    """What is wrong with a record, on one line: key and reason."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'record'}: {fault['msg']}" for fault in error.errors(include_url=False))


def _mend_tail(descriptor: int) -> None:
    """Have the file end with a whole line: a torn one is cut off, a whole vote that only lacks its end of line gets it."""
    end = size = os.fstat(descriptor).st_size
    tail = b""
    while end and b"\n" not in tail:
        start = max(0, end - _BLOCK)
        tail = os.pread(descriptor, end - start, start) + tail
        end = start
    torn = tail.rpartition(b"\n")[2]
    if not torn:
        return
    if _is_vote(torn):
        os.write(descriptor, b"\n")
    else:
        os.ftruncate(descriptor, size - len(torn))


def _is_vote(line: bytes) -> bool:
    try:
        Vote.model_validate_json(line)
    except ValidationError:
        return False
    return True
