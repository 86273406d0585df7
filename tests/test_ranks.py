"""Training in several processes under a parent that looks after them."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from short_training import short_training, trained_with

from flows.ranks import fit_on_ranks
from tasks.ablations.plans import with_values
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params

# A parent that says which steps its ranks have taken.
PARENT = """
import sys
from flows.ranks import fit_on_ranks
from tasks.params import Params

def ignore(*_): pass

params = Params.model_validate_json(sys.stdin.readline())
fit_on_ranks(params, ignore, lambda step, total: print(step, flush=True), show=ignore)
"""


def _ignore(*_: object) -> None:
    pass


def _kill_at(step: int, params: Params) -> list[psutil.Process]:
    """Train under a parent that gets SIGKILL once `step` is taken; those of its descendants that outlive it."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(params.model_dump_json() + "\n")
        parent.stdin.flush()
        assert f"{step}\n" in iter(parent.stdout.readline, "")
        descendants = psutil.Process(parent.pid).children(recursive=True)
        assert sum("flows.ranks" in process.cmdline() for process in descendants) == params.train.num_processes
        parent.kill()
    _, alive = psutil.wait_procs(descendants, timeout=30)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]  # in a container nobody may reap orphans


def _weights(params: Params) -> dict[str, torch.Tensor]:
    return load_harmonizer(params.paths.harmonizer)[0].state_dict()


@pytest.fixture
def shared(tmp_path: Path) -> Params:
    params = short_training(tmp_path)
    return with_values(trained_with(params, num_processes=2, sheet_every=12), {"speed": {"report_every": 4}})


@pytest.mark.slow
def test_ranks_die_with_their_parent_and_training_goes_on_to_the_weights_of_an_uninterrupted_one(shared: Params) -> None:
    reported: list[int] = []
    shown: list[Path] = []
    expected = fit_on_ranks(shared, lambda metrics, step: reported.append(step), _ignore, show=shown.append)
    whole = _weights(shared)
    assert {4, 8, 12} <= set(reported)
    assert [path.name for path in shown] == ["sheet_000012.png"]

    assert not _kill_at(4, shared)
    reached: list[int] = []
    assert fit_on_ranks(shared, _ignore, lambda step, total: reached.append(step), show=_ignore) == expected
    assert reached[0] in {4, 7, 10}  # the step after the last checkpoint: the ranks had a moment left
    assert reached == list(range(reached[0], 13))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in _weights(shared).items())


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_training(shared: Params) -> None:
    (shared.paths.mined / "train-00000.tar").write_bytes(b"no shard")
    with pytest.raises(ChildProcessError, match=r"rank [01] of 2 ended with exit code 1"):
        fit_on_ranks(shared, _ignore, _ignore, show=_ignore)
