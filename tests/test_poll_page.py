"""The poll's page over real HTTP, and in a real browser where there is one."""

import http.client
import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import uvicorn

from attune.images import encode_jpeg, encode_png
from tasks.poll.bradley_terry import fit_scores
from tasks.poll.page_server import HEADERS, MAX_BODY, RunningPoll, create_app
from tasks.poll.scores import score_poll
from tasks.poll.turns import MASKS, Poll, read_poll
from tasks.poll.votes import read_votes

METHODS = ("composite", "ours", "theirs")
ANN, BOB = "a" * 32, "b" * 32
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, photograph: Callable[[int, int, int], np.ndarray], object_mask: Callable[..., np.ndarray]
) -> Path:
    """A folder with three methods' pictures of four images, and masks."""
    folder = tmp_path_factory.mktemp("poll") / "pictures"
    for method in (*METHODS, MASKS):
        (folder / method).mkdir(parents=True)
    for number in range(4):
        image, mask = photograph(48, 64, number), object_mask(48, 64)
        for shift, method in enumerate(METHODS):
            changed = np.where(mask[..., None] > 0, cv2.add(image, np.full_like(image, 20 * shift)), image)
            (folder / method / f"photo_{number}.jpg").write_bytes(encode_jpeg(changed, 95))
        (folder / MASKS / f"photo_{number}.png").write_bytes(encode_png(mask))
    return folder


@pytest.fixture
def pictures(original: Path, tmp_path: Path) -> Path:
    """The same, to change."""
    return Path(shutil.copytree(original, tmp_path / "pictures"))


@dataclass(frozen=True)
class Served:
    """A poll that answers on a port."""

    port: int
    poll: Poll
    votes: Path

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body (decoded if JSON) and headers of one request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, {"Content-Type": "application/json"} | headers)
            response = connection.getresponse()
            said = response.read()
            kind = response.headers.get("content-type", "")
            return response.status, json.loads(said) if kind.startswith("application/json") else said, dict(response.headers.items())
        finally:
            connection.close()

    def turn(self, rater: str) -> Any:
        """What the server shows `rater`."""
        status, body, _ = self.ask("GET", f"/api/turn?rater={rater}")
        assert status == 200
        return body

    def ballot(self, **changes: Any) -> dict[str, Any]:
        """A valid vote on what ANN is shown, or with changes an invalid one."""
        shown = self.turn(ANN)["comparison"]
        return {"rater": ANN, "left": shown["left"], "right": shown["right"], "choice": "left", "milliseconds": 900} | changes


def serve(pictures: Path, votes: Path, goal: int = 6) -> Iterator[Served]:
    poll = read_poll(pictures)
    server = uvicorn.Server(uvicorn.Config(create_app(RunningPoll(poll, votes, seed=1, goal=goal)), log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Served(listening.getsockname()[1], poll, votes)
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture
def served(pictures: Path, tmp_path: Path) -> Iterator[Served]:
    yield from serve(pictures, tmp_path / "votes.jsonl")


@pytest.fixture(scope="module")
def untouched(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A poll on which nobody votes: after all that was refused there is not even a file."""
    for found in serve(original, tmp_path_factory.mktemp("untouched") / "votes.jsonl"):
        yield found
        assert not found.votes.exists()


def test_a_vote_is_on_the_disk_when_it_is_confirmed_and_the_next_turn_comes_with_it(served: Served) -> None:
    before = served.turn(ANN)
    assert (before["answered"], before["goal"], before["total"]) == (0, 6, 12)
    ballot = served.ballot(choice="right", milliseconds=1234)
    status, after, _ = served.ask("POST", "/api/votes", ballot)
    assert status == 201
    (vote,) = read_votes(served.votes)
    assert (vote.rater, vote.choice, vote.milliseconds, vote.poll) == (ANN, "right", 1234, served.poll.digest)
    assert after == served.turn(ANN)
    assert after["answered"] == 1
    assert after["comparison"] != before["comparison"]
    assert served.turn(BOB)["answered"] == 0


def test_a_rater_goes_on_where_they_stopped_after_the_server_was_started_anew(pictures: Path, tmp_path: Path) -> None:
    votes = tmp_path / "votes.jsonl"
    for number in range(3):
        for served in serve(pictures, votes):
            assert served.turn(ANN)["answered"] == number
            assert served.ask("POST", "/api/votes", served.ballot())[0] == 201
    assert len({vote.comparison for vote in read_votes(votes)}) == 3


def test_votes_on_other_pictures_count_for_nothing_here(pictures: Path, tmp_path: Path) -> None:
    votes = tmp_path / "votes.jsonl"
    for served in serve(pictures, votes):
        served.ask("POST", "/api/votes", served.ballot())
    (pictures / "ours" / "photo_0.jpg").write_bytes(encode_jpeg(np.zeros((48, 64, 3), np.uint8), 90))
    for served in serve(pictures, votes):
        assert served.turn(ANN)["answered"] == 0


def vote_until_done(served: Served, rater: str, choose: Callable[[str, str], str], of: dict[str, str]) -> int:
    """Vote as a browser does, until there is nothing left; the votes cast."""
    turn, cast = served.turn(rater), 0
    while turn["comparison"] is not None:
        left, right = (turn["comparison"][side] for side in ("left", "right"))
        ballot = {"rater": rater, "left": left, "right": right, "choice": choose(of[left], of[right]), "milliseconds": 400}
        status, turn, _ = served.ask("POST", "/api/votes", ballot)
        assert status == 201
        cast += 1
    return cast


def tokens_of(served: Served) -> dict[str, Path]:
    """What the server knows and a rater does not."""
    return RunningPoll(served.poll, served.votes, seed=1, goal=1).pictures


def test_two_raters_at_once_lose_no_vote_and_their_preferences_are_recovered(served: Served) -> None:
    """Simulated raters like ours over theirs over the composite, nine times in ten."""
    liking = {"ours": 2, "theirs": 1, "composite": 0}
    of = {token: path.parent.name for token, path in tokens_of(served).items()}
    raters = [ANN, BOB, "c" * 32, "d" * 32, "e" * 32, "f" * 32]

    def rate(rater: str) -> int:
        rng = np.random.default_rng(int(rater[0], 16))
        return vote_until_done(
            served, rater, lambda left, right: "left" if (liking[left] > liking[right]) == (rng.random() < 0.9) else "right", of
        )

    with ThreadPoolExecutor(len(raters)) as pool:
        cast = dict(zip(raters, pool.map(rate, raters), strict=True))
    votes = read_votes(served.votes)
    assert Counter(vote.rater for vote in votes) == cast == dict.fromkeys(raters, 12)
    counts = Counter(vote.comparison for vote in votes)
    assert set(counts.values()) == {len(raters)}, "each pair of methods on each image by each rater once"
    found = score_poll(votes, served.poll.digest, ridge=0.01, num_resamples=200, rng=np.random.default_rng(0))
    assert [row.method for row in found.methods] == ["ours", "theirs", "composite"]
    wins = np.array([[0, 9, 9], [1, 0, 9], [1, 1, 0]], float)  # of ten votes, in expectation
    for row, true in zip(found.methods, fit_scores(wins, ridge=0.0), strict=True):
        assert row.low <= true <= row.high


def test_no_answer_tells_which_method_is_shown(served: Served) -> None:
    said = json.dumps(served.turn(ANN))
    _, picture, headers = served.ask("GET", f"/picture/{served.turn(ANN)['comparison']['left']}")
    assert picture.startswith(b"\xff\xd8")
    assert not any(method in said or method in json.dumps(headers) for method in METHODS)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"choice": "up"}, "choice: Input should be 'left', 'right' or 'neither'"),
    ({"rater": "Ada Lovelace"}, "rater: String should match pattern"),
    ({"milliseconds": "fast"}, "milliseconds: Input should be a valid integer"),
    ({"milliseconds": -5}, "milliseconds: Input should be greater than or equal to 0"),
    ({"email": "a@b.c"}, "email: Extra inputs are not permitted"),
    ({"left": "../../etc/passwd"}, "no picture of this poll: '../../etc/passwd'"),
])
def test_a_malformed_vote_is_refused_with_its_reason(untouched: Served, changes: dict[str, Any], reason: str) -> None:
    status, said, _ = untouched.ask("POST", "/api/votes", untouched.ballot(**changes))
    assert status == 422
    assert reason in said["detail"]


def test_votes_on_no_comparison_are_refused(untouched: Served) -> None:
    shown = untouched.turn(ANN)["comparison"]
    named = {path.relative_to(path.parents[1]).with_suffix(""): token for token, path in tokens_of(untouched).items()}
    mask, ours, theirs = named[Path(MASKS, "photo_0")], named[Path("ours", "photo_0")], named[Path("theirs", "photo_1")]
    for left, right, reason in [
        (shown["left"], shown["left"], "two methods' pictures of one image"), (ours, theirs, "two methods' pictures of one image"),
        (ours, mask, "no picture"),
    ]:
        status, said, _ = untouched.ask("POST", "/api/votes", untouched.ballot(left=left, right=right))
        assert status == 422
        assert reason in said["detail"]


@pytest.mark.parametrize(("body", "headers", "status"), [
    (b"choice=left", {}, 400), (b"", {}, 400), (b"[]", {}, 422), (b"\xff\xfe", {}, 400), (b'{"rater": "\xff"}', {}, 400),
    (b"[" * 2000, {}, 400),
    (b"{}", {"Content-Type": "text/plain"}, 415), (b"x" * (MAX_BODY + 1), {}, 413), (b"x" * 5_000_000, {}, 413),
])
def test_what_is_no_ballot_is_refused(untouched: Served, body: bytes, headers: dict[str, str], status: int) -> None:
    found, said, _ = untouched.ask("POST", "/api/votes", body, **headers)
    assert found == status
    assert said["detail"]


@pytest.mark.parametrize("path", [
    "/picture/../page_server.py", "/picture/..%2f..%2fvotes.jsonl", "/picture/composite", "/../page_server.py", "/..%2fpage_server.py",
    "/page_server.py", "/picture/%2fetc%2fpasswd", "/docs", "/openapi.json", "/page/poll.js",
])
def test_no_request_reaches_another_file(untouched: Served, path: str) -> None:
    assert untouched.ask("GET", path)[0] == 404


def test_a_rater_without_a_proper_id_is_refused(untouched: Served) -> None:
    for query in ("", "?rater=", "?rater=Ada", f"?rater={'A' * 32}", "?rater=Ada%20Lovelace"):
        status, said, _ = untouched.ask("GET", f"/api/turn{query}")
        assert status == 422
        assert said["detail"].startswith("rater: ")


def test_every_answer_forbids_foreign_content(untouched: Served) -> None:
    found = {"/": 200, "/poll.js": 200, "/poll.css": 200, "/icon.svg": 200, f"/api/turn?rater={ANN}": 200, "/nothing": 404}
    for path, expected in found.items():
        status, _, headers = untouched.ask("GET", path)
        assert status == expected
        assert {key: headers[key.lower()] for key in HEADERS} == HEADERS
    assert "unsafe" not in str(HEADERS)


# --- In a browser -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def ready(page: Any) -> None:
    """Wait until both pictures of a pair are to be seen and a key counts."""
    page.wait_for_selector("#pair:not(.waiting)")
    page.wait_for_timeout(270)


@pytest.mark.slow
def test_a_rater_votes_by_keyboard_goes_back_and_comes_back(browser: Any, served: Served) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 700})
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.keyboard.press("Enter")  # Start has the focus
    for number, key in enumerate(["ArrowLeft", "2", " "], start=1):
        ready(page)
        page.keyboard.press(key)
        page.wait_for_function("count => document.getElementById('count').textContent.startsWith(`${count} of 6`)", arg=number)
    ready(page)
    loaded = page.eval_on_selector_all(".side img:first-child", "images => images.map(image => image.naturalWidth)")
    assert loaded == [64, 64]
    page.keyboard.down("o")
    assert page.is_visible("#left .mask")
    page.keyboard.up("o")
    assert not page.is_visible("#left .mask")
    page.keyboard.press("Backspace")
    ready(page)
    page.keyboard.press("1")
    ready(page)
    votes = read_votes(served.votes)
    assert [vote.choice for vote in votes] == ["left", "right", "neither", "left"]
    assert votes[3].comparison == votes[2].comparison, "back leads to the pair before"
    assert (votes[3].left, votes[3].right) == (votes[2].left, votes[2].right)
    assert len({vote.rater for vote in votes}) == 1
    page.reload()
    page.keyboard.press("Enter")
    ready(page)
    assert page.text_content("#count") == "3 of 6"
    assert faults == []
    context.close()


@pytest.mark.slow
def test_on_a_phone_a_rater_taps_reaches_the_goal_and_may_go_on(browser: Any, pictures: Path, tmp_path: Path) -> None:
    for path in pictures.glob("*/photo_[123].*"):
        path.unlink()
    for served in serve(pictures, tmp_path / "votes.jsonl", goal=2):
        tap_through(browser, served)
    assert Counter(vote.choice for vote in read_votes(tmp_path / "votes.jsonl")) == {"left": 1, "right": 1, "neither": 1}


def tap_through(browser: Any, served: Served) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True, color_scheme="dark")
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.tap("#start")
    for number, button in enumerate(["#left", "#right", "#neither"]):
        if number == 2:
            assert page.wait_for_selector("#thanks-text").text_content().startswith("Thank you: 2 pairs compared")
            page.tap("#more")
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.tap(button)
        page.wait_for_function("count => document.getElementById('count').textContent.startsWith(String(count))", arg=number + 1)
    page.wait_for_function("() => document.getElementById('thanks-text').textContent.includes('every pair')")
    context.close()


@pytest.mark.slow
def test_a_vote_that_cannot_be_saved_is_said_and_can_be_sent_again(browser: Any, served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.keyboard.press("Enter")
    ready(page)
    served.votes.mkdir()  # no file can be opened here
    page.keyboard.press("1")
    page.wait_for_selector("#fault")
    served.votes.rmdir()
    page.keyboard.press("Enter")  # Try again has the focus
    page.wait_for_function("() => document.getElementById('count').textContent === '1 of 6'")
    assert [vote.choice for vote in read_votes(served.votes)] == ["left"]
    assert "a vote could not be stored" in capfd.readouterr().err
    context.close()


