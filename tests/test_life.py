"""The life of a model on one machine, for real: schedule, inbox, pipeline, gate, registry, HTTP; and a retraining that is killed anywhere.

The pipeline is the short chain of tests/short_chain.py; everything around it is the project's own. The gate decides on measured numbers.
"""

import base64
import csv
import json
import shutil
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import short_chain
from life import Life, begin_life, kill_retraining, on_schedule, schedule_soon, wait_for
from short_chain import coloured, dim_or_bright, write_photographs

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "ingest": {"sources": ["photos"], "max_reject_fraction": 0.2},
    "ingest.synthesis": {"composites_per_object": 3, "composites_per_test_object": 2, "max_side": 64},
    "train.optimizer": {"steps": 200, "lr": 3.0e-3},
    "evaluate": {"benchmarks": {"photos": {"source": "photos", "subset": "*", "size": 64, "resize": "pillow_bilinear"}}},
    "release": {"max_natural_fmse": 1000.0},
}


@pytest.fixture(scope="module")
def life(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A committed project with a few grey photographs; its schedule runs."""
    folder = copy_project(repository, tmp_path_factory.mktemp("a life") / "my project")
    shutil.copy(repository / "prefect.yaml", folder)
    shutil.copy(Path(short_chain.__file__), folder)
    (folder / "dvc.yaml").write_text(short_chain.DVC_YAML)
    write_photographs(folder / "data/raw/photos", range(5), "train", dim_or_bright)
    write_photographs(folder / "data/raw/photos", range(200, 224), "test", coloured)
    with on_schedule(begin_life(folder, SETTINGS)) as begun:
        yield begun


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
    before = life.query("select count(*) from runs")
    assert "retrain: nothing new" in life.run("flows.retrain")
    assert life.query("select count(*) from model_versions") == [(1,)]
    assert life.query("select count(*) from runs") == before, "no stage was even asked"


def test_new_data_are_learned_on_schedule_while_the_model_serves(life: Life) -> None:
    running = life.processes()
    serve = ("mlflow", "models", "serve", "--model-uri", "models:/attune@champion", "--env-manager", "local", "--host", "127.0.0.1")
    with life.in_background(*serve, "--port", str(life.ports["model"]), log="model.txt") as serving:
        write_photographs(life.inbox, range(300, 340), "train", coloured)
        (life.inbox / "images/broken.png").write_bytes(b"no picture")
        shutil.copy(life.inbox / "masks/p300.png", life.inbox / "masks/broken.png")
        with open(life.inbox / "manifest.csv", "a") as handle:
            handle.write("broken,broken,train\n")
        schedule_soon(life)
        wait_for(lambda: life.is_up("model", "/ping"), "the model answers", of=serving)
        life.ask(64, 64)
        workspace = life.folder / "data/work/retrain/workspace"
        wait_for(lambda: workspace.is_dir() or life.champion() == 2, "the cron fires")  # it may be over before the server is up
        life.ask(97, 310)
        wait_for(lambda: life.champion() == 2, "the candidate is promoted")
        life.ask(310, 97)
        with pytest.raises(urllib.error.HTTPError) as refused:
            life.post({"dataframe_records": [{"composite": base64.b64encode(b"no picture").decode(), "mask": "AAAA"}]})
        assert refused.value.code == 400
        assert "row 0, composite: not an image" in refused.value.read().decode()
    over = "deployment_id is not null and state_type in ('COMPLETED', 'FAILED', 'CRASHED')"
    wait_for(lambda: life.states(over) == ["COMPLETED"], "the scheduled run is over")
    wait_for(lambda: life.processes() <= running, "its process has ended too, and left the project to the next one")
    decision, text = life.told()
    assert decision == "promoted"
    assert "Version 2: promoted" in text
    assert "| not_inferior |" in text
    assert (life.raw / "images/p300.png").is_file()
    assert len((life.raw / "manifest.csv").read_text().splitlines()) == 1 + 5 + 24 + 40
    left = list(csv.DictReader((life.folder / "data/inbox/left.csv").read_text().splitlines()))
    assert [(Path(row["path"]).name, row["reason"]) for row in left] == [("broken.png", "unreadable")]
    assert {"not_inferior", "do_no_harm", "natural", "latency", "size"} <= set(life.rules(2))


# What the command says as it comes to each of its steps: the stages of the chain, and its own.
STEPS = ["1/2 ingest", "2/2 train", "retrain: registering"]


def came_to(step: str, said: str) -> bool:
    """Whether the command has said that it comes to this step, and had half a second for it."""
    if not any(line.startswith(step) for line in said.splitlines()):
        return False
    time.sleep(0.5)
    return True


def test_killed_in_each_step_it_changes_nothing_and_harmful_data_are_refused_by_name(life: Life) -> None:
    shutil.rmtree(life.inbox)
    write_photographs(life.inbox, range(400, 450), "train", coloured, false_light=True)
    before, running = life.files(), life.processes()
    for step in STEPS:
        kill_retraining(life, partial(came_to, step), step)
        wait_for(lambda: life.processes() <= running, f"nothing is orphaned after a kill at {step!r}", seconds=30)
        assert life.champion() == 2, step
        assert life.files() == before, step
    said = life.run("flows.retrain")
    assert "retrain: refused: not_inferior: fMSE" in said
    assert life.champion() == 2
    last = life.query("select max(version) from model_versions")[0][0]
    assert life.tags(last)["gate"] == "refused"
    assert life.tags(last)["held_against"] == "2"
    candidate_then, champion_now = (life.rules(version)["not_inferior"]["detail"] for version in (2, last))
    figure = candidate_then.split(" where ")[0].removeprefix("fMSE ")
    assert f"where the champion has {figure};" in champion_now, "the champion in the registry is the model that was measured"
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
