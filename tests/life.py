"""A project on one machine, lived in from outside: commands in its folder, its registry's database, its processes."""

import base64
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import yaml

from attune.images import encode_png

PREFECT = ".prefect/serve/prefect.db"  # the server's records
PATIENCE = 1500.0  # seconds, on a machine that others use too; what is tested has a time limit of its own


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rows(database: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(database, timeout=30)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


class Life:
    """A project on this machine, from its first photograph on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw, self.inbox = folder / "data/raw/photos", folder / "data/inbox/photos"
        self.ports = {"prefect": free_port(), "model": free_port()}
        own = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "DVC_", "ATTUNE_", "GIT_"))}
        self.environment = {
            **own, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "OMP_NUM_THREADS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull, "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
        }

    @property
    def under_server(self) -> dict[str, str]:
        """The environment of a command whose flows report to the life's own server."""
        return {**self.environment, "PREFECT_API_URL": f"http://127.0.0.1:{self.ports['prefect']}/api",
                "PREFECT_HOME": str(self.folder / ".prefect/serve"), "PWD": str(self.folder)}

    def run(self, *command: str) -> str:
        """What a command says; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env=self.under_server, text=True, check=False, timeout=PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def in_background(self, *command: str, log: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that runs for the length of the block."""
        path = self.folder / log
        with open(path, "wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, env=self.environment, stdout=said, stderr=said, start_new_session=True
            )
        try:
            yield process
            assert process.poll() is None, path.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)

    def query(self, sql: str) -> list[Any]:
        """Rows of the registry's database."""
        return rows(self.folder / "mlflow.db", sql)

    def champion(self) -> int | None:
        """The version that has the alias."""
        found = self.query("select version from registered_model_aliases where alias = 'champion'")
        return int(found[0][0]) if found else None

    def tags(self, version: int) -> dict[str, str]:
        return dict(self.query(f"select key, value from model_version_tags where version = {version}"))

    def rules(self, version: int) -> dict[str, Any]:
        """The gate's rules as they were kept with a version."""
        (run,), = self.query(f"select run_id from model_versions where version = {version}")
        kept = json.loads((self.folder / f"mlartifacts/{run}/artifacts/verdict.json").read_text())
        return {rule["name"]: rule for rule in kept["rules"]}

    def states(self, where: str) -> list[str]:
        """The states of those of the server's flow runs that `where` names, in SQL."""
        sql = f"select state_type from flow_run join flow on flow.id = flow_run.flow_id where {where} order by flow_run.created"
        return [state for (state,) in rows(self.folder / PREFECT, sql)]

    def told(self) -> tuple[str, str]:
        """Decision and text of the last artifact of a retraining."""
        sql = "select description, data from artifact where key = 'retrain' order by created"
        decision, text = rows(self.folder / PREFECT, sql)[-1]
        return decision, text

    def files(self) -> dict[str, bytes]:
        """The project's data and the inbox."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for place in (self.raw, self.inbox) for path in sorted(place.rglob("*")) if path.is_file()
        }

    def processes(self) -> set[int]:
        """What runs in the project's folder or below."""
        found = set()
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
            except (psutil.Error, OSError):
                continue
        return found

    def ask(self, height: int, width: int) -> None:
        """The served model must answer for a picture of this size, and change the object alone."""
        rng = np.random.default_rng(height)
        picture, mask = rng.integers(0, 256, (height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2, width // 4 : width // 2] = 255
        row = {name: base64.b64encode(encode_png(image)).decode() for name, image in (("composite", picture), ("mask", mask))}
        answer = json.loads(self.post({"dataframe_records": [row]}))["predictions"][0]["harmonized"]
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(answer), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert decoded.shape == picture.shape
        assert np.array_equal(decoded[mask == 0], picture[mask == 0])
        assert not np.array_equal(decoded[mask > 0], picture[mask > 0])

    def post(self, body: Any) -> str:
        """The answer of the served model."""
        address = f"http://127.0.0.1:{self.ports['model']}/invocations"
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said: str = answer.read().decode()
            return said

    def is_up(self, which: str, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[which]}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = PATIENCE, *, pause: float = 0.1, of: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until `condition` is true, as long as the process `of`, if any, runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert of is None or of.poll() is None, f"in vain: {what}; it has ended"
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(pause)


def schedule_soon(life: Life) -> None:
    """Have the cron of prefect.yaml fire within a minute; on a machine that takes longer than that to deploy it, later.

    Deployed twice it may fire twice, and disturb who comes next: half a minute is enough for most machines.
    """
    path, delay = life.folder / "prefect.yaml", timedelta(seconds=50)
    text = path.read_text()
    assert "cron: 15 3 * * *" in text
    while True:
        soon = datetime.now(UTC) + delay
        path.write_text(text.replace("cron: 15 3 * * *", f"cron: {soon:%M %H %d %m} * {soon:%S}"))
        life.run("prefect", "--no-prompt", "deploy", "--all")
        if datetime.now(UTC) + delay / 2 < soon:  # the scheduler must have seen it before its time comes
            return
        delay *= 2


def kill_retraining(life: Life, arrived: Callable[[str], bool], what: str) -> None:
    """kill -9 the process of a retraining as soon as `arrived`, given what it has said so far, is true."""
    log = life.folder / "killed.txt"
    with open(log, "wb") as said, subprocess.Popen(
        [sys.executable, "-m", "flows.retrain"], cwd=life.folder, env=life.under_server, stdout=said, stderr=said
    ) as retraining:
        try:
            wait_for(lambda: retraining.poll() is not None or arrived(log.read_text()), what, pause=0.005)
            assert retraining.poll() is None, f"it ended before {what}:\n{log.read_text()}"
        finally:
            retraining.kill()
    assert retraining.returncode == -signal.SIGKILL


def begin_life(folder: Path, changes: Mapping[str, Any]) -> Life:
    """The project in `folder` with some of its values replaced, by section, and committed."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, replaced in changes.items():
        place = values
        for name in section.split("."):
            place = place[name]
        place.update(replaced)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    life = Life(folder)
    for command in (["add", "--all"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "Begin"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=life.environment)
    return life


@contextmanager
def on_schedule(life: Life) -> Iterator[Life]:
    """`make serve` for the length of the block; afterwards nothing runs in the project's folder."""
    with life.in_background("flows.serve", "--port", str(life.ports["prefect"]), log="serve.txt") as server:
        wait_for(lambda: life.is_up("prefect", "/api/health"), "the server answers", of=server)
        yield life
    assert life.processes() == set(), "nothing may outlive its command"
