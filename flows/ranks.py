"""Training in several processes, as torchrun has it: `train.num_processes` ranks on this machine, and a parent that looks after them.

    python -m flows.ranks RANK COUNT PORT PIPE      what the parent starts

The parent hosts the store by which the ranks find one another and read their params, and passes on what rank 0 reports. It computes
nothing, so that it always sees a rank fail, and ends the others; however it ends itself, the ranks end with it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from flows.console import faults_as_lines
from flows.processes import Leash, exit_on_sigterm
from tasks.params import Params
from tasks.train import Advance, train
from tasks.training.distributed import joined
from tasks.training.session import Report, Show

HOST = "127.0.0.1"
PARAMS = "params"
POLL_SECONDS = 0.5


def fit_on_ranks(params: Params, report: Report, advance: Advance, *, show: Show) -> dict[str, float]:
    """`tasks.train.train` in `train.num_processes` processes.

    Raises ChildProcessError naming the rank if one ends before the training does: what it had to say it has printed.
    """
    count = params.train.num_processes
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    store.set(PARAMS, params.model_dump_json())
    reading, writing = os.pipe()
    with Connection(reading, writable=False) as messages, Leash() as leash:
        children = []
        for rank in range(count):
            pipe = (writing,) if rank == 0 else ()
            command = [sys.executable, "-m", "flows.ranks", *map(str, (rank, count, store.port, *pipe))]
            children.append(leash.start(command, pass_fds=pipe))
        os.close(writing)
        heard: dict[str, Callable[..., None]] = {"report": report, "advance": advance, "show": lambda path: show(Path(path))}
        while True:
            name, arguments = _next_message(messages, children)
            if name == "finished":
                return dict(*arguments)
            heard[name](*arguments)


def _next_message(messages: Connection, children: list["subprocess.Popen[Any]"]) -> tuple[str, list[Any]]:
    """What rank 0 says next. Raises ChildProcessError if a rank has failed."""
    while True:
        if messages.poll(POLL_SECONDS):
            try:
                name, arguments = json.loads(messages.recv_bytes())
            except EOFError:
                children[0].wait()
                code = children[0].returncode
                raise ChildProcessError(f"rank 0 of {len(children)} ended with exit code {code}, see above") from None
            return name, arguments
        for rank, child in enumerate(children):
            if child.poll():
                raise ChildProcessError(f"rank {rank} of {len(children)} ended with exit code {child.returncode}, see above")


def main() -> None:
    """One rank."""
    rank, count, port, *pipe = map(int, sys.argv[1:])
    exit_on_sigterm()
    with faults_as_lines(f"train, rank {rank}"):
        store = TCPStore(HOST, port, is_master=False)
        params = Params.model_validate_json(store.get(PARAMS))
        messages = Connection(pipe[0], readable=False) if pipe else None

        def tell(name: str, *arguments: Any) -> None:
            if messages is not None:
                messages.send_bytes(json.dumps([name, arguments]).encode())

        with joined(rank, count, store) as ranks:
            figures = train(
                params, lambda metrics, step: tell("report", metrics, step), lambda done, total: tell("advance", done, total),
                show=lambda path: tell("show", str(path)), ranks=ranks,
            )
        tell("finished", figures)


if __name__ == "__main__":
    main()
