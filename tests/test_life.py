"""The life of a model on one machine, for real: schedule, inbox, pipeline, gate, registry, HTTP; and a retraining that is killed anywhere.

The pipeline is the short chain of tests/short_chain.py; everything around it is the project's own. The gate decides on measured numbers.
"""

import base64
import csv
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import short_chain
import yaml
from short_chain import coloured, dim_or_bright, write_photographs

from tasks.images import encode_png

pytestmark = pytest.mark.slow

PATIENCE = 300.0  # seconds, on a busy machine
SETTINGS: dict[str, Any] = {
    "ingest": {"sources": ["photos"], "max_reject_fraction": 0.2},
    "ingest.synthesis": {"composites_per_object": 3, "composites_per_test_object": 2, "max_side": 64},
    "train": {"steps": 200, "lr": 3.0e-3},
    "evaluate": {"benchmarks": {"photos": {"source": "photos", "subset": "*", "size": 64, "resize": "pillow_bilinear"}}},
    "release": {"max_natural_fmse": 1000.0},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
        connection = sqlite3.connect(self.folder / "mlflow.db", timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def champion(self) -> int | None:
        """The version that has the alias."""
        found = self.query("select version from registered_model_aliases where alias = 'champion'")
        return int(found[0][0]) if found else None

    def tags(self, version: int) -> dict[str, str]:
        return dict(self.query(f"select key, value from model_version_tags where version = {version}"))

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


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def life(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A committed project with a few grey photographs; its schedule runs."""
    folder = copy_project(repository, tmp_path_factory.mktemp("a life") / "my project")
    shutil.copy(repository / "prefect.yaml", folder)
    shutil.copy(Path(short_chain.__file__), folder)
    (folder / "dvc.yaml").write_text(short_chain.DVC_YAML)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    for section, changes in SETTINGS.items():
        place = values
        for name in section.split("."):
            place = place[name]
        place.update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    began = Life(folder)
    write_photographs(began.raw, range(5), "train", dim_or_bright)
    write_photographs(began.raw, range(200, 224), "test", coloured)
    for command in (["add", "--all"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "Begin"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=began.environment)
    with began.in_background("flows.serve", "--port", str(began.ports["prefect"]), log="serve.txt"):
        wait_for(lambda: began.is_up("prefect", "/api/health"), "the server answers")
        yield began
    assert began.processes() == set(), "nothing may outlive its command"


def schedule_soon(life: Life) -> None:
    """Have the cron of prefect.yaml fire in a quarter of a minute; on a machine that takes longer than that to deploy it, later."""
    path, delay = life.folder / "prefect.yaml", timedelta(seconds=15)
    text = path.read_text()
    assert "cron: 15 3 * * *" in text
    while True:
        soon = datetime.now(UTC) + delay
        path.write_text(text.replace("cron: 15 3 * * *", f"cron: {soon:%M %H %d %m} * {soon:%S}"))
        life.run("prefect", "--no-prompt", "deploy", "--all")
        if datetime.now(UTC) + timedelta(seconds=3) < soon:
            return
        delay *= 2


def test_a_first_training_makes_the_first_champion(life: Life) -> None:
    said = life.run("flows.retrain")
    assert "retrain: promoted" in said
    assert life.champion() == 1
    tags = life.tags(1)
    assert tags["gate"] == "accepted"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=life.folder, capture_output=True, text=True, check=True).stdout.strip()
    assert tags["git_commit"] == head
    assert {"data_version", "dvc_lock", "model_sha256", "out.data/index", "out.data/checkpoints/harmonizer"} <= set(tags)
    assert not (life.folder / "dvc.lock").exists(), "a retraining leaves the project's own pipeline alone"
    assert not (life.folder / "data/index").exists()


def test_nothing_new_is_said_and_nothing_is_made(life: Life) -> None:
    began = time.monotonic()
    assert "retrain: nothing new" in life.run("flows.retrain")
    assert life.query("select count(*) from model_versions") == [(1,)]
    assert time.monotonic() - began < PATIENCE / 5


def test_new_data_are_learned_on_schedule_while_the_model_serves(life: Life) -> None:
    serve = ("mlflow", "models", "serve", "--model-uri", "models:/attune@champion", "--env-manager", "local", "--host", "127.0.0.1")
    with life.in_background(*serve, "--port", str(life.ports["model"]), log="model.txt"):
        write_photographs(life.inbox, range(300, 340), "train", coloured)
        (life.inbox / "images/broken.png").write_bytes(b"no picture")
        shutil.copy(life.inbox / "masks/p300.png", life.inbox / "masks/broken.png")
        with open(life.inbox / "manifest.csv", "a") as handle:
            handle.write("broken,broken,train\n")
        schedule_soon(life)
        wait_for(lambda: life.is_up("model", "/ping"), "the model answers")
        life.ask(64, 64)
        wait_for((life.folder / "data/work/retrain/workspace").is_dir, "the cron fires")
        life.ask(97, 310)
        wait_for(lambda: life.champion() == 2, "the candidate is promoted")
        life.ask(310, 97)
        with pytest.raises(urllib.error.HTTPError) as refused:
            life.post({"dataframe_records": [{"composite": base64.b64encode(b"no picture").decode(), "mask": "AAAA"}]})
        assert refused.value.code == 400
        assert "row 0, composite: not an image" in refused.value.read().decode()
    state = "select state_type from flow_run where deployment_id is not null and state_type in ('COMPLETED', 'FAILED', 'CRASHED')"
    database = life.folder / ".prefect/serve/prefect.db"
    wait_for(lambda: [row[0] for row in sqlite3.connect(database).execute(state)] == ["COMPLETED"], "the scheduled run is over")
    assert (life.raw / "images/p300.png").is_file()
    assert len((life.raw / "manifest.csv").read_text().splitlines()) == 1 + 5 + 24 + 40
    left = list(csv.DictReader((life.folder / "data/inbox/left.csv").read_text().splitlines()))
    assert [(Path(row["path"]).name, row["reason"]) for row in left] == [("broken.png", "unreadable")]
    rules = json.loads(next((life.folder / "mlartifacts").glob("*/artifacts/verdict.json")).read_text())["rules"]
    assert {"not_inferior", "do_no_harm", "natural", "latency", "size"} <= {rule["name"] for rule in rules}


# What the command says as it comes to each of its steps: the stages of the chain, and its own.
STEPS = ["1/2 ingest", "2/2 train", "retrain: registering"]


def kill_at(life: Life, step: str) -> None:
    """kill -9 the process of a retraining that has come to `step`."""
    with subprocess.Popen(
        [sys.executable, "-m", "flows.retrain"], cwd=life.folder, env=life.under_server, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as retraining:
        assert retraining.stdout is not None
        said = ""
        for line in retraining.stdout:
            said += line
            if line.startswith(step):
                break
        else:
            pytest.fail(f"it never came to {step!r}:\n{said}")
        time.sleep(0.5)
        assert retraining.poll() is None
        retraining.kill()
    assert retraining.returncode == -signal.SIGKILL


def test_killed_in_each_step_it_changes_nothing_and_harmful_data_are_refused_by_name(life: Life) -> None:
    shutil.rmtree(life.inbox)
    write_photographs(life.inbox, range(400, 450), "train", coloured, false_light=True)
    before, running = life.files(), life.processes()
    for step in STEPS:
        kill_at(life, step)
        wait_for(lambda: life.processes() <= running, f"nothing is orphaned after a kill at {step!r}", seconds=30)
        assert life.champion() == 2, step
        assert life.files() == before, step
    said = life.run("flows.retrain")
    assert "retrain: refused: not_inferior: fMSE" in said
    assert life.champion() == 2
    last = life.query("select max(version) from model_versions")[0][0]
    assert life.tags(last)["gate"] == "refused"
    assert life.tags(last)["judged_against"] == "2"
    assert not list(life.inbox.glob("images/*"))
    aside = next((life.folder / "data/inbox/refused").iterdir())
    assert len(list(aside.glob("photos/images/*"))) == 50
    assert "not_inferior" in json.loads((aside / "verdict.json").read_text())["why"]
    assert life.query("select count(*) from runs where status = 'RUNNING'") == [(0,)]
    assert not (life.folder / "data/work/retrain/workspace").exists()


def test_one_command_brings_the_former_champion_back(life: Life) -> None:
    assert "version 1 is the champion again, in place of 2" in life.run("flows.registry", "rollback")
    assert life.champion() == 1


def test_a_version_is_made_again_from_its_commit_and_its_data(life: Life) -> None:
    before = life.files()
    said = life.run("flows.reproduce", "1")  # its photographs are still there; since then others came
    assert "version 1 came out the same" in said
    assert said.count("equal") == 5  # index, composites, figures, harmonizer, and the model's own bytes
    assert life.files() == before
