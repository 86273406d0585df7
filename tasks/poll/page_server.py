"""The poll's page: two pictures of one real composite beside each other, which looks more natural?

Any number of raters, in any browser. The server keeps nothing but the votes' file: a rater is a random number that their browser drew, the
page never learns which method it shows, and what comes next follows from the votes so far. So both sides may stop and go on at any time.
"""

import argparse
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.evaluation.methods import load_methods
from tasks.params import Params, load_params
from tasks.poll.pictures import write_poll_pictures
from tasks.poll.turns import MASKS, Comparison, Poll, next_comparison, picture_token, read_poll
from tasks.poll.votes import Choice, Milliseconds, RaterId, Vote, append_vote, describe_faults, last_votes, read_votes

PAGE = Path(__file__).with_name("page")
PAGE_FILES = ("index.html", "poll.css", "poll.js", "icon.svg")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BODY = 2048  # bytes; a vote has 200
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Ballot(BaseModel):
    """What the page sends: a choice between two pictures, by their tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rater: RaterId
    left: Annotated[str, Field(max_length=64)]
    right: Annotated[str, Field(max_length=64)]
    choice: Choice
    milliseconds: Milliseconds


class RunningPoll:
    """A poll under way: its pictures by token, and the votes so far. Safe to share by threads."""

    def __init__(self, poll: Poll, votes: Path, *, seed: int, goal: int) -> None:
        """votes: the file that they are appended to. goal: after so many a rater is thanked; they may go on."""
        self.poll = poll
        self.pictures = {picture_token(poll, *of): path for of, path in poll.pictures.items()}
        self.pictures |= {picture_token(poll, MASKS, image): path for image, path in poll.masks.items()}
        self._of = {picture_token(poll, *of): of for of in poll.pictures}
        self._path, self._seed, self._goal = votes, seed, goal
        self._votes = [vote for vote in read_votes(votes) if vote.poll == poll.digest]
        self._lock = threading.Lock()

    def turn(self, rater: str) -> dict[str, Any]:
        """What the page of `rater` shows next, `comparison: null` when all is compared, and how far they are."""
        with self._lock:
            votes = last_votes(self._votes)
        shown = next_comparison(self.poll, rater, votes, seed=self._seed)
        return {
            "answered": sum(vote.rater == rater for vote in votes), "goal": min(self._goal, len(self.poll.comparisons)),
            "total": len(self.poll.comparisons), "comparison": self._as_tokens(shown) if shown else None,
        }

    def cast(self, ballot: Ballot) -> None:
        """Put the vote on the disk. Raises ValueError if the tokens are not those of two methods' pictures of one image."""
        if unknown := [token for token in (ballot.left, ballot.right) if token not in self._of]:
            raise ValueError(f"no picture of this poll: {unknown[0]!r}")
        (left, image), (right, other) = self._of[ballot.left], self._of[ballot.right]
        if image != other or left == right:
            raise ValueError("left and right must be two methods' pictures of one image")
        vote = Vote(
            poll=self.poll.digest, rater=ballot.rater, image=image, left=left, right=right, choice=ballot.choice,
            milliseconds=ballot.milliseconds,
        )
        append_vote(self._path, vote)
        with self._lock:
            self._votes.append(vote)

    def _as_tokens(self, shown: Comparison) -> dict[str, str | None]:
        mask = picture_token(self.poll, MASKS, shown.image) if shown.image in self.poll.masks else None
        return {side: picture_token(self.poll, getattr(shown, side), shown.image) for side in ("left", "right")} | {"mask": mask}


def create_app(poll: RunningPoll) -> FastAPI:
    """The page and its three calls: whose turn it is, a picture, a vote. Faults are answered as `{"detail": reason}` with a 4xx code."""
    app = FastAPI(title="Attune poll", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def add_headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(RequestValidationError)
    async def say_fault(_request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())}, status_code=422)

    @app.get("/api/turn")
    def turn(rater: Annotated[RaterId, Query()]) -> dict[str, Any]:
        return poll.turn(rater)

    @app.post("/api/votes", status_code=201)
    async def vote(request: Request) -> dict[str, Any]:
        ballot = parse_ballot(await read_body(request))
        try:
            await run_in_threadpool(poll.cast, ballot)  # waits for the disk
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        except OSError as error:
            print(f"poll: a vote could not be stored: {error}", file=sys.stderr)
            raise HTTPException(503, "the vote could not be stored") from None
        return await run_in_threadpool(poll.turn, ballot.rater)

    @app.get("/picture/{token}")
    def picture(token: str) -> FileResponse:
        if token not in poll.pictures:  # files are known by their tokens alone: no request names a path
            raise HTTPException(404, "no such picture")
        return FileResponse(poll.pictures[token], headers={"Cache-Control": "private, max-age=86400, immutable"})

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = PAGE_FILES[0]) -> FileResponse:
        if name not in PAGE_FILES:
            raise HTTPException(404, "no such page")
        return FileResponse(PAGE / name)

    return app


async def read_body(request: Request) -> bytes:
    """The body of a JSON request, read no further than MAX_BODY; HTTPException 415 for another type, 413 for a longer body.

    Only pages of this server can send JSON here: a browser asks before it lets another site do so, and is not answered.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "a vote is sent as application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"a vote has at most {MAX_BODY} bytes")
    return body


def parse_ballot(body: bytes) -> Ballot:
    """The ballot in `body`; HTTPException 400 if it is not JSON, 422 with the keys and reasons if it is no ballot."""
    try:
        json.loads(body)
        return Ballot.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, describe_faults(error)) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "not JSON") from None


def prepare(params: Params, pictures: Path) -> None:
    """Make the pictures of `poll.methods`. Raises ValueError if there is no trained harmonizer or no real composite yet."""
    def advance(done: int, total: int) -> None:
        print(f"\rpictures: {done} of {total}", end="" if done < total else "\n", flush=True)

    write_poll_pictures(params, load_methods(params), pictures, advance)
    print(f"{', '.join(params.poll.methods)} in {pictures}; a folder of another method's pictures beside them takes part too")


def serve(params: Params, pictures: Path, votes: Path, *, host: str, port: int) -> None:
    """Serve the poll until it is interrupted. Raises ValueError if the pictures are no poll, or the votes' file is damaged."""
    import uvicorn

    poll = read_poll(pictures)
    running = RunningPoll(poll, votes, seed=params.seed, goal=params.poll.votes_per_rater)
    print(f"{len(poll.images)} images, methods {', '.join(poll.methods)}: {len(poll.comparisons)} comparisons; votes go to {votes}")
    shown = "localhost" if host in LOOPBACK else host
    print(f"open http://{shown}:{port}   (Ctrl-C ends; `make poll FIT=1` says what the votes say)")
    if host not in LOOPBACK:
        print("anyone who reaches this address may vote: there is no password and no encryption")
    uvicorn.run(create_app(running), host=host, port=port, log_level="warning", access_log=False)


def main() -> None:
    """The command `python -m tasks.poll.page_server`."""
    parser = argparse.ArgumentParser(description="Ask people which of two harmonized pictures looks more natural.")
    parser.add_argument("--renew", action="store_true", help="make the pictures of poll.methods anew; older votes count no more")
    parser.add_argument("--pictures", type=Path, help="a folder per method; default: pictures/ in poll.folder, made if missing")
    parser.add_argument("--votes", type=Path, help="file that votes are appended to; default: votes.jsonl in poll.folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=8321)
    arguments = parser.parse_args()
    try:
        params = load_params()
        pictures = arguments.pictures or params.poll.folder / "pictures"
        if arguments.renew or not (arguments.pictures or pictures.is_dir()):
            prepare(params, pictures)
        serve(params, pictures, arguments.votes or params.poll.folder / "votes.jsonl", host=arguments.host, port=arguments.port)
    except (ValueError, OSError) as error:
        print(f"poll: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
