"""Retraining through all the real stages on the tiny profile: by a schedule that really fires, and killed in each of its steps.

Minutes, so `make test` leaves it out: `python -m pytest -m long -s tests/test_all_stages.py`.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from life import Life, begin_life, kill_retraining, on_schedule, schedule_soon, wait_for
from short_chain import coloured, write_photographs

from flows.configure import configure

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(7200)]

STAGES = ("ingest", "mine", "fit_syconet", "augment", "train", "evaluate", "report")
SAID = ("retrain: measuring", "retrain: registering")
SETTINGS = {
    "ingest": {"sources": ["starter", "photos"]},
    "ingest.starter": {"num_scenes": 12},
    # What is tested is that nothing breaks; a model of 16 steps is worth nothing.
    "release": {"max_natural_fmse": 1e6, "min_do_no_harm": 0.0, "max_fmse_growth": 10.0, "max_group_growth": 10.0},
}


@pytest.fixture(scope="module")
def life(repository: Path, copy_project: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A committed project on the tiny profile, with a few photographs of its own; its schedule runs."""
    folder = copy_project(repository, tmp_path_factory.mktemp("all stages") / "my project")
    shutil.copy(repository / "prefect.yaml", folder)
    configure("tiny", params=folder / "params.yaml", profiles=folder / "profiles")
    write_photographs(folder / "data/raw/photos", range(6), "train", coloured)
    with on_schedule(begin_life(folder, SETTINGS)) as begun:
        yield begun


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:7.1f} s  {what}")


def runs(life: Life, stage: str, num_before: int, _said: str) -> bool:
    """Whether a flow of `stage` runs that is none of the `num_before` first ones."""
    return "RUNNING" in life.states(f"flow.name = '{stage}'")[num_before:]


def has_said(line: str, said: str) -> bool:
    return line in said


def kill_at(life: Life, step: str) -> None:
    """kill -9 a retraining that has come to this step, and wait until nothing is left of it."""
    running = life.processes()
    arrived = partial(runs, life, step, len(life.states(f"flow.name = '{step}'"))) if step in STAGES else partial(has_said, step)
    with timed(f"to the kill at {step}"):
        kill_retraining(life, arrived, step)
    with timed("    until nothing is left of it"):
        wait_for(lambda: life.processes() <= running, f"nothing is orphaned after a kill at {step}", seconds=60)


def test_new_data_go_through_all_stages_when_the_cron_fires(life: Life) -> None:
    with timed("the first training"):
        assert "retrain: promoted" in life.run("flows.retrain")
    write_photographs(life.inbox, range(300, 308), "train", coloured)
    schedule_soon(life)
    over = "deployment_id is not null and state_type in ('COMPLETED', 'FAILED', 'CRASHED')"
    with timed("the scheduled run, waiting for its cron included"):
        wait_for(lambda: life.states(over), "the scheduled run is over")
    assert life.states(over) == ["COMPLETED"]
    assert life.champion() == 2
    assert taken_in(life, "p300")
    finished = [name for (name,) in life.query("select name from runs where status = 'FINISHED'")]
    assert all(finished.count(name) == 2 for name in ("retrain", "pipeline", *STAGES))


def test_killed_in_each_stage_it_leaves_all_as_it_was_and_the_next_run_completes(life: Life) -> None:
    write_photographs(life.inbox, range(400, 408), "train", coloured)
    champion, before = life.champion(), life.files()
    for step in (*STAGES, "retrain: measuring", "retrain: registering"):
        kill_at(life, step)
        assert life.champion() == champion, step
        assert life.files() == before, step
    with timed("the run that completes"):
        assert "retrain: promoted" in life.run("flows.retrain")
    assert taken_in(life, "p400")
    assert life.query("select count(*) from runs where status = 'RUNNING'") == [(0,)]


def test_killed_while_it_promotes_the_next_run_finds_it_done_or_not_begun(life: Life) -> None:
    write_photographs(life.inbox, range(500, 504), "train", coloured)
    champion, running = life.champion(), life.processes()
    note = life.folder / "data/work/retrain/promotion.json"
    with timed("to the kill while promoting"):
        kill_retraining(life, lambda _said: note.is_file(), "the promotion")
    wait_for(lambda: life.processes() <= running, "nothing is orphaned after a kill while promoting", seconds=60)
    promoted = life.champion() != champion
    with timed(f"the run after that, which found it {'done' if promoted else 'not begun'}"):
        said = life.run("flows.retrain")
    assert ("finished a promotion that was cut off" in said) == ("retrain: nothing new" in said) == promoted
    assert life.champion() != champion
    assert taken_in(life, "p500")
    assert not note.exists()


def taken_in(life: Life, name: str) -> bool:
    """Whether a photograph has become the project's, and the inbox is empty."""
    return (life.raw / f"images/{name}.png").is_file() and not list(life.inbox.glob("images/*"))
