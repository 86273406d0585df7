import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.poll.votes import Vote, append_vote, last_votes, read_votes

RATER = "0123456789abcdef0123456789abcdef"


def a_vote(number: int = 0, **changes: object) -> Vote:
    values = {"poll": "s", "rater": RATER, "image": f"image {number}", "left": "b", "right": "a", "choice": "left", "milliseconds": 900}
    return Vote.model_validate(values | changes)


def test_votes_come_back_as_they_were_cast(tmp_path: Path) -> None:
    votes = [a_vote(1), a_vote(2, image="grüße \u2028 \"'\\", choice="neither"), a_vote(3, milliseconds=0)]
    for vote in votes:
        append_vote(tmp_path / "poll" / "votes.jsonl", vote)
    assert read_votes(tmp_path / "poll" / "votes.jsonl") == votes
    assert read_votes(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("fault", [
    {"rater": "me@example.org"}, {"rater": RATER.upper()}, {"choice": "both"}, {"milliseconds": -1}, {"milliseconds": "900"}, {"image": ""},
    {"image": "x" * 201}, {"name": "Ada"},
])
def test_what_is_no_vote_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fault))):
        a_vote(**fault)


@given(cut=st.integers(1, 200))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_line_torn_anywhere_is_passed_over_and_then_mended(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "votes.jsonl"
    path.unlink(missing_ok=True)
    append_vote(path, a_vote(1))
    append_vote(path, a_vote(2))
    whole = path.read_bytes()
    os.truncate(path, len(whole) - min(cut, len(whole.splitlines()[1])))
    left = read_votes(path)
    assert left[0] == a_vote(1)
    append_vote(path, a_vote(3))
    assert read_votes(path) == [*left, a_vote(3)]
    assert path.read_bytes().startswith(whole[: whole.index(b"\n") + 1]), "what was confirmed is never rewritten"


def test_a_torn_line_of_any_length_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    append_vote(path, a_vote(1))
    with open(path, "ab") as handle:
        handle.write(b'{"poll": "' + b"x" * 200_000)
    append_vote(path, a_vote(2))
    assert read_votes(path) == [a_vote(1), a_vote(2)]


def test_a_whole_vote_without_its_end_of_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(a_vote(1).model_dump_json())
    assert read_votes(path) == [a_vote(1)]
    append_vote(path, a_vote(2))
    assert read_votes(path) == [a_vote(1), a_vote(2)]


@pytest.mark.parametrize("line", ["{}", "", "not JSON", json.dumps({**a_vote().model_dump(), "choice": "up"})])
def test_a_broken_line_among_others_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(f"{a_vote(1).model_dump_json()}\n{line}\n{a_vote(2).model_dump_json()}\n")
    with pytest.raises(ValueError, match=r"votes\.jsonl, line 2: not a vote"):
        read_votes(path)


def test_threads_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    votes = [a_vote(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda vote: append_vote(path, vote), votes))
    assert sorted(vote.image for vote in read_votes(path)) == sorted(vote.image for vote in votes)


CASTING = """
import sys
from pathlib import Path
from tasks.poll.votes import Vote, append_vote
for number in range(100000):
    vote = Vote(poll="s", rater=sys.argv[2], image=str(number), left="a", right="b", choice="left", milliseconds=1)
    append_vote(Path(sys.argv[1]), vote)
    print(number, flush=True)
"""


def test_processes_that_are_killed_while_they_append_lose_no_confirmed_vote(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "votes.jsonl"
    raters = [character * 32 for character in "ab"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    running = [
        subprocess.Popen([sys.executable, "-c", CASTING, str(path), rater], stdout=subprocess.PIPE, text=True, env=environment)
        for rater in raters
    ]
    deadline = time.monotonic() + 30
    while (not path.is_file() or len(path.read_bytes()) < 20_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    confirmed = {}
    for rater, process in zip(raters, running, strict=True):
        process.send_signal(signal.SIGKILL)
        confirmed[rater] = process.communicate()[0].split()
    append_vote(path, a_vote())
    votes = read_votes(path)
    for rater in raters:
        cast = [vote.image for vote in votes if vote.rater == rater]
        assert confirmed[rater] == cast[: len(confirmed[rater])]
        assert len(cast) - len(confirmed[rater]) in (0, 1), "at most the one whose confirmation was cut off"


def test_of_two_votes_on_one_comparison_the_last_counts_whichever_the_sides() -> None:
    first, other = a_vote(1), a_vote(1, rater="f" * 32)
    again = a_vote(1, left="a", right="b", choice="neither")
    assert last_votes([first, other, a_vote(2), again]) == [again, other, a_vote(2)]
