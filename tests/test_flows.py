"""Orchestration: profiles, processes that end with us, progress and faults, tracking, fan-out with retries."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import console, pipeline, processes
from flows.configure import configure, lay_over, read_profile
from flows.graph import PlannedStage
from flows.tracking import flatten, read_inputs, store_name, tracked_execution, tracked_run, without_passwords
from models.discriminator import DiscriminatorConfig
from models.paper import paper_config
from models.syconet import PAPER
from tasks.augmentation.syconet_training import syconet_config
from tasks.params import Params, load_params

# --- Profiles ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(repository: Path, tmp_path: Path) -> dict[str, Path]:
    """A copy of params.yaml and of the profiles, as `configure` takes them."""
    shutil.copytree(repository / "profiles", tmp_path / "profiles")
    shutil.copy(repository / "params.yaml", tmp_path)
    configure("starter", params=tmp_path / "params.yaml", profiles=tmp_path / "profiles")
    return {"params": tmp_path / "params.yaml", "profiles": tmp_path / "profiles"}


def keys_of(values: dict[str, Any], prefix: str = "") -> set[str]:
    keys = set()
    for key, value in values.items():
        name = f"{prefix}{key}"
        keys |= keys_of(value, f"{name}.") if isinstance(value, dict) and name != "evaluate.benchmarks" else {name}
    return keys


def test_a_profile_leaves_every_comment_and_every_other_line(settings: dict[str, Path]) -> None:
    before = settings["params"].read_text()
    changed = configure("tiny", **settings)
    after = settings["params"].read_text()
    assert len(before.splitlines()) == len(after.splitlines())
    assert [line.partition("#")[2] for line in before.splitlines()] == [line.partition("#")[2] for line in after.splitlines()]
    differing = sum(first != second for first, second in zip(before.splitlines(), after.splitlines(), strict=True))
    assert 0 < differing <= len(changed) + 1  # evaluate.benchmarks is one key on two lines


@pytest.mark.parametrize("profile", ["tiny", "photos", "paper"])
def test_the_starter_brings_back_what_a_profile_has_set(settings: dict[str, Path], profile: str) -> None:
    before = settings["params"].read_text()
    configure(profile, **settings)
    assert settings["params"].read_text() != before
    assert configure("starter", **settings) == []
    assert yaml.safe_load(settings["params"].read_text()) == yaml.safe_load(before)


def test_profiles_do_not_add_up(settings: dict[str, Path]) -> None:
    configure("photos", **settings)
    alone = settings["params"].read_text()
    configure("tiny", **settings)
    configure("photos", **settings)
    assert yaml.safe_load(settings["params"].read_text()) == yaml.safe_load(alone)


def test_a_value_that_no_profile_sets_is_kept(settings: dict[str, Path]) -> None:
    settings["params"].write_text(settings["params"].read_text().replace("seed: 1 ", "seed: 7 "))
    configure("tiny", **settings)
    assert load_params(settings["params"]).seed == 7


@pytest.mark.parametrize("profile", ["tiny", "photos", "paper"])
def test_the_starter_knows_every_key_that_another_profile_sets(repository: Path, profile: str) -> None:
    folder = repository / "profiles"
    assert keys_of(read_profile(profile, folder)) <= keys_of(read_profile("starter", folder))


def test_the_committed_params_have_the_starters_values(repository: Path, tmp_path: Path) -> None:
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=repository, capture_output=True, text=True, check=False)
    if shown.returncode != 0 or yaml.safe_load(shown.stdout)["ingest"]["sources"] != ["starter"]:
        pytest.skip("no commit, or one that holds a profile of your own")
    (tmp_path / "params.yaml").write_text(shown.stdout)
    configure("starter", params=tmp_path / "params.yaml", profiles=repository / "profiles")
    assert yaml.safe_load((tmp_path / "params.yaml").read_text()) == yaml.safe_load(shown.stdout), "profiles/starter.yaml has fallen behind"


def test_a_profiles_benchmarks_are_the_whole_list(settings: dict[str, Path]) -> None:
    configure("photos", **settings)
    named = yaml.safe_load((settings["profiles"] / "photos.yaml").read_text())["evaluate"]["benchmarks"]
    assert load_params(settings["params"]).evaluate.benchmarks.keys() == named.keys()


def test_the_paper_profile_is_the_papers_models_at_their_sizes(settings: dict[str, Path]) -> None:
    configure("paper", **settings)
    params = load_params(settings["params"])
    assert params.train.model.config() == paper_config(plate=False)
    assert syconet_config(params.syconet) == PAPER
    assert DiscriminatorConfig(params.train.model.size, params.train.adversary.width) == DiscriminatorConfig(size=512, width=16)


def test_raw_becomes_the_folder_of_photographs(settings: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    folder.mkdir()
    configure("photos", os.fspath(folder), **settings)
    assert load_params(settings["params"]).paths.raw == folder


def test_faults_of_a_profile_are_named_and_leave_the_file_as_it_was(settings: dict[str, Path]) -> None:
    before = settings["params"].read_text()
    (settings["profiles"] / "odd.yaml").write_text("train: {learning_rate: 1}")
    (settings["profiles"] / "wrong.yaml").write_text("train: {optimizer: {lr: -1}}")
    (settings["profiles"] / "broken.yaml").write_text("train: {lr")
    for profile, raw, said in [
        ("nosuch", None, "PROFILE=nosuch: no such profile; there are: .*paper, photos, starter, tiny"),
        ("odd", None, "train.learning_rate: no such key"),
        ("wrong", None, r"train\.optimizer\.lr: Input should be greater than 0 \(got -1\)"),
        ("broken", None, r"broken\.yaml: not YAML"),
        ("photos", "/no/such/folder", "RAW=/no/such/folder: no such folder"),
    ]:
        with pytest.raises(ValueError, match=said):
            configure(profile, raw, **settings)
        assert settings["params"].read_text() == before


def test_lay_over_tells_what_changed() -> None:
    values = {"a": 1, "b": {"c": 2, "d": 3}}
    assert lay_over(values, {"a": 1, "b": {"d": 4}}) == ["b.d"]
    assert values == {"a": 1, "b": {"c": 2, "d": 4}}


# --- Processes --------------------------------------------------------------------------------------------------------------------------

SLEEPER = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
SLEEPERS = f"\"$0\" -c '{SLEEPER}' & \"$0\" -c '{SLEEPER}'; true"
PARENT = f"""
import subprocess, sys, time
from flows.processes import Leash
with Leash() as leash:
    child = leash.start(["sh", "-c", {SLEEPERS!r}, {sys.executable!r}])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def living(group: int) -> list[psutil.Process]:
    """The members of a process group, zombies left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_leash_ends_the_whole_group_with_its_block() -> None:
    with processes.Leash() as leash:
        child = leash.start(["sh", "-c", SLEEPERS, sys.executable])
        assert wait_until(lambda: len(living(child.pid)) == 3)
    assert living(child.pid) == []


def test_a_child_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    with processes.Leash() as leash:
        child = leash.start([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout as output:
            assert output.readline() == b"ready\n"
    assert child.returncode == -signal.SIGKILL


def test_a_finished_child_leaves_its_exit_code() -> None:
    with processes.Leash() as leash:
        child = leash.start([sys.executable, "-c", "raise SystemExit(7)"])
        assert child.wait() == 7
        leash.end(child)
    assert child.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_when_we_are_killed(repository: Path, number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=repository, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert wait_until(lambda: len(living(group)) == 3)
        parent.send_signal(number)
        parent.wait()
        assert wait_until(lambda: living(group) == [])


FOLLOWER = textwrap.dedent("""
    import time
    from flows.processes import exit_on_sigterm, follow_parent
    exit_on_sigterm()
    follow_parent("MAKELEVEL")
    print(__import__("os").getpid(), flush=True)
    time.sleep(60)
""")


def test_a_command_ends_when_the_make_that_started_it_is_killed(repository: Path) -> None:
    starter = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOLLOWER!r}])"
    environment = {**os.environ, "MAKELEVEL": "1"}
    with subprocess.Popen([sys.executable, "-c", starter], cwd=repository, stdout=subprocess.PIPE, text=True, env=environment) as make:
        assert make.stdout is not None
        follower = psutil.Process(int(make.stdout.readline()))
        make.kill()
        make.wait()
        assert wait_until(lambda: not follower.is_running() or follower.status() == psutil.STATUS_ZOMBIE)


# --- One at a time ----------------------------------------------------------------------------------------------------------------------


def test_a_second_pipeline_in_the_same_folder_is_refused(project: Path) -> None:
    with pipeline.only_one(), pytest.raises(ValueError, match="another pipeline is running"), pipeline.only_one():
        pass
    with pipeline.only_one():
        pass


@pytest.mark.parametrize("text", ['{"write": {"a": {"pid": PID, "cmd": "dvc repro"}}, "read": {}}', "{}", '{"write": {"data', "[]"])
def test_locks_that_a_killed_dvc_left_are_cleared(project: Path, text: str) -> None:
    # The number belongs to a living process again, ours, that is no DVC.
    (project / ".dvc/tmp").mkdir(parents=True)
    lock = project / ".dvc/tmp/rwlock"
    lock.write_text(text.replace("PID", str(os.getpid())))
    with pipeline.only_one():
        assert not lock.exists()


def test_the_lock_of_a_living_dvc_stays(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER, "dvc", "repro"]) as dvc:
        lock = tmp_path / "rwlock"
        lock.write_text(json.dumps({"write": {}, "read": {"data/index": [{"pid": dvc.pid, "cmd": "dvc repro"}]}}))
        pipeline.clear_stale_lock(lock)
        dvc.kill()
        assert lock.exists()


# --- What a person sees -----------------------------------------------------------------------------------------------------------------


def test_a_users_fault_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, console.faults_as_lines("ingest"):
        raise ValueError("data/raw/photos/a[1].png: mask is 3 x 3, image is 4 x 4")
    assert stop.value.code == 1
    assert capsys.readouterr().out == "ingest: data/raw/photos/a[1].png: mask is 3 x 3, image is 4 x 4\n"


def test_our_own_fault_shows_our_frames_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, console.faults_as_lines("mine"):
        read_profile(3, None)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert stop.value.code == 1
    assert "configure.py" in said
    assert said.splitlines()[-1].startswith("mine: TypeError: ")


def test_every_exception_is_shown_whole_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_TRACEBACK", "1")
    with pytest.raises(KeyError), console.faults_as_lines("mine"):
        raise KeyError("x")


def test_an_interruption_has_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, console.faults_as_lines("train"):
        raise KeyboardInterrupt
    assert stop.value.code == 130


def test_progress_without_a_terminal_is_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("train") as advance:
        for done in range(1, 1001):
            advance(done, 1000)
    assert capsys.readouterr().out == "train: 1000 of 1000, 0 s\n"


def test_the_benchmark_table_says_what_is_left_of_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"mse": 20.0, "fmse": 400.0, "psnr": 30.0, "ssim": 0.97, "num_images": 12}
    console.console.print(pipeline.benchmark_table("photos", {"harmonized": {**row, "fmse": 100.0}, "composite": row}))
    said = capsys.readouterr().out
    assert "photos, 12 test images" in said
    assert said.index("composite") < said.index("harmonized")
    assert "0.25" in said


def test_a_dry_run_follows_staleness_down_the_graph(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.print_plan([
        PlannedStage("ingest", "", (), ()), PlannedStage("train", "", ("ingest",), ("train.lr modified",)),
        PlannedStage("evaluate", "", ("ingest", "train"), ()),
    ])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in lines] == [
        ["ingest", "skip", "nothing changed"], ["train", "run", "train.lr modified"], ["evaluate", "run", "after train"],
    ]


# --- Tracking ---------------------------------------------------------------------------------------------------------------------------


def test_flatten_joins_keys_by_dots() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_inputs_are_the_outputs_of_other_stages_as_dvc_locked_them(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text('stages:\n  mine:\n    deps: ["${paths.raw}", "${paths.index}", tasks/mine.py]\n')
    (tmp_path / "dvc.lock").write_text(
        "stages:\n  ingest:\n    outs:\n    - {path: data/index, md5: 0a1b.dir}\n    - {path: data/composites, md5: 22.dir}\n"
    )
    paths = {"raw": "data/raw", "index": "data/index", "composites": "data/composites"}
    assert read_inputs("mine", paths, (tmp_path / "dvc.yaml", tmp_path / "dvc.lock")) == {"data/index": "0a1b.dir"}
    assert read_inputs("mine", paths, (tmp_path / "dvc.yaml", tmp_path / "none")) == {}


@pytest.fixture
def tracked(project: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Params, Callable[[str], list[Any]]]:
    """The params, and `query(sql)` on the tracking database of a project of the test's own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ATTUNE_PARENT_RUN", raising=False)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(repository / name, project)
    index = load_params().paths.index
    (project / "dvc.lock").write_text(f"stages: {{ingest: {{outs: [{{path: {index}, md5: 0a1b.dir}}]}}}}")

    def query(sql: str) -> list[Any]:
        connection = sqlite3.connect(project / "mlflow.db")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    return load_params(), query


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_stage_is_a_nested_run_with_params_inputs_metrics_and_artifacts(
    tracked: tuple[Params, Callable[[str], list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, query = tracked
    with tracked_execution() as execution:
        for name, value in execution.environment().items():
            monkeypatch.setenv(name, value)
        with tracked_run("train", params) as run:
            for step in range(3):
                run.report({"loss": 1.0 / (step + 1), "val_fmse": 50.0 - step}, step)
            run.finish({"val_fmse": 49.0})
        with pytest.raises(ValueError, match="no pairs"), tracked_run("mine", params):
            raise ValueError("no pairs")
        with pytest.raises(KeyboardInterrupt), tracked_run("augment", params):
            raise KeyboardInterrupt
        assert execution.executed_stages() == {"train", "mine", "augment"}
        execution.log({"seconds.train": 3.0})
    runs = dict(query("select name, status from runs"))
    assert runs == {"pipeline": "FINISHED", "train": "FINISHED", "mine": "FAILED", "augment": "KILLED"}
    assert query("select count(*) from tags where key = 'mlflow.parentRunId'") == [(3,)]
    of_train = "run_uuid = (select run_uuid from runs where name = 'train')"
    assert dict(query(f"select key, value from latest_metrics where {of_train}"))["val_fmse"] == 49.0
    assert query(f"select count(*) from metrics where key = 'loss' and {of_train}") == [(3,)]
    values = {key: str(value) for key, value in flatten({"train": params.train.model_dump(mode="json")}).items()}
    assert dict(query(f"select key, value from params where {of_train}")) == {"seed": str(params.seed), **values}
    assert query("select name, digest from datasets") == [("index", "0a1b.dir")]
    assert json.loads((params.paths.metrics / "train.json").read_text()) == {"val_fmse": 49.0}
    assert len(list(Path("mlartifacts").rglob("train.json"))) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_unusable_tracking_store_is_named(tracked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_URI=file:\./mlruns: "), tracked_run("train", tracked[0]):
        pass


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:hunter2@mlflow.example.org/a", "https://mlflow.example.org/a"),
        ("postgresql://me:hunter2@host:5432/runs", "postgresql://host:5432/runs"),
        ("https://mlflow.example.org/a@b", "https://mlflow.example.org/a@b"), ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_no_password_of_a_store_is_told(monkeypatch: pytest.MonkeyPatch, uri: str, shown: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store_name() == shown
    assert without_passwords(f"cannot open {uri}: refused") == f"cannot open {shown}: refused"


# --- Fan-out under a real Prefect server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server of the tests' own, with a database of its own, as a stage that is started alone has one."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from flows.server import prefect_api

    home = tmp_path_factory.mktemp("prefect home")
    with temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}), prefect_api() as url:
        assert url.startswith("http://127.0.0.1:")
        yield


def work_in_flow(work: Callable[..., Any], params: Any, units: list[Any], num_workers: int = 2) -> list[Any]:
    from prefect import flow

    from flows.stage import map_units

    @flow(name="test")
    def run() -> list[Any]:
        return map_units(work, params, units, num_workers=num_workers)

    return run()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("prefect_server")
class TestFanOut:
    """`map_units` under a real server."""

    def test_results_come_in_the_order_of_the_units(self) -> None:
        def late_first(offset: int, unit: int) -> int:
            time.sleep(0.05 * (3 - unit))
            return offset + unit

        assert work_in_flow(late_first, 10, [0, 1, 2, 3]) == [10, 11, 12, 13]

    def test_no_units_are_no_work(self) -> None:
        assert work_in_flow(lambda params, unit: unit, None, []) == []

    def test_an_os_error_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flows.stage.RETRY_DELAY_SECONDS", 0)
        calls: list[int] = []

        def flaky(_params: None, unit: int) -> int:
            calls.append(unit)
            if calls.count(unit) < 3:
                raise OSError("disk")
            return unit

        assert work_in_flow(flaky, None, [1, 2]) == [1, 2]
        assert sorted(calls) == [1, 1, 1, 2, 2, 2]

    def test_a_fault_of_the_input_is_not_tried_again_and_arrives_as_it_is(self) -> None:
        calls: list[int] = []

        def faulty(_params: None, unit: int) -> int:
            calls.append(unit)
            raise ValueError(f"unit {unit} is bad")

        with pytest.raises(ValueError, match="unit 5 is bad"):
            work_in_flow(faulty, None, [5])
        assert calls == [5]

    def test_no_more_units_run_at_once_than_there_are_workers(self) -> None:
        running: list[int] = []
        most: list[int] = []

        def busy(_params: None, unit: int) -> None:
            running.append(unit)
            most.append(len(running))
            time.sleep(0.02)
            running.remove(unit)

        work_in_flow(busy, None, list(range(8)), num_workers=2)
        assert max(most) <= 2


def test_without_prefect_dask_the_executor_dask_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.stage import _task_runner

    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r'speed\.executor: dask needs prefect-dask.*pip install "attune\[dask\]"'):
        _task_runner("dask", 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("prefect_server")
def test_a_dask_cluster_ingests_to_the_same_bytes_as_threads(
    project: Path, configure: Callable[..., Params], write_photos: Callable[..., Path]
) -> None:
    from prefect import flow

    from flows.stage import map_units
    from tasks.ingest import finish_ingest, plan_ingest, settle_ingest
    from tasks.ingestion.check_chunks import check_chunk
    from tasks.ingestion.composite_chunks import compose_chunk

    write_photos(project / "data" / "raw" / "photos", 6)
    params = configure({
        "ingest.sources": ["photos"], "ingest.min_side": 32, "ingest.synthesis.composites_per_object": 2, "ingest.synthesis.max_side": 48,
        "ingest.synthesis.max_gradient_ratio": 8.0, "ingest.synthesis.max_delta_e": 60.0, "ingest.synthesis.max_hue_turned": 1.0,
    })

    @flow(name="ingest in a cluster")
    def in_cluster() -> None:
        map_units(check_chunk, params, plan_ingest(params), num_workers=1, executor="dask")
        map_units(compose_chunk, params, settle_ingest(params), num_workers=1, executor="dask")

    def outputs() -> dict[str, bytes]:
        folders = (params.paths.index, params.paths.composites)
        return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}

    for chunk in plan_ingest(params):
        check_chunk(params, chunk)
    for unit in settle_ingest(params):
        compose_chunk(params, unit)
    finish_ingest(params)
    here = outputs()
    shutil.rmtree(params.paths.work)
    with listening_addresses() as addresses:
        in_cluster()
    finish_ingest(params)
    assert outputs() == here
    assert len(here) > 12
    assert addresses == {"127.0.0.1"}, "scheduler, workers and their page are nobody else's business"


@contextmanager
def listening_addresses() -> Iterator[set[str]]:
    """The addresses at which this process and its children listened during the block."""
    found: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                with suppress(psutil.Error):
                    found.update(each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
