"""Training in several processes under a parent that looks after them."""

from pathlib import Path

import psutil
import pytest
import torch
from short_training import short_training

from flows.ranks import fit_on_ranks
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params


class Killed(Exception):
    """Stands for the end of the parent."""


def _ignore(*_: object) -> None:
    pass


def _kill_at(step: int, total: int) -> None:
    del total
    if step == 5:
        raise Killed


def _weights(params: Params) -> dict[str, torch.Tensor]:
    return load_harmonizer(params.paths.harmonizer)[0].state_dict()


@pytest.fixture
def shared(tmp_path: Path) -> Params:
    params = short_training(tmp_path)
    section = params.train.model_copy(update={"num_processes": 2, "steps": 6, "sheet_every": 6, "report_every": 3})
    return params.model_copy(update={"train": section})


@pytest.mark.slow
def test_a_killed_training_of_two_processes_ends_with_the_weights_of_an_uninterrupted_one(shared: Params) -> None:
    reported: list[int] = []
    shown: list[Path] = []
    expected = fit_on_ranks(shared, lambda metrics, step: reported.append(step), _ignore, show=shown.append)
    whole = _weights(shared)
    assert {3, 6} == set(reported)
    assert [path.name for path in shown] == ["sheet_000006.png"]

    with pytest.raises(Killed):
        fit_on_ranks(shared, _ignore, _kill_at, show=_ignore)
    left = [child for child in psutil.Process().children(recursive=True) if "flows.ranks" in child.cmdline()]
    assert not left, "ranks outlived their parent's block"

    reached: list[int] = []
    assert fit_on_ranks(shared, _ignore, lambda step, total: reached.append(step), show=_ignore) == expected
    assert reached == [4, 5, 6]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in _weights(shared).items())


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_training(shared: Params) -> None:
    (shared.paths.mined / "train-00000.tar").write_bytes(b"no shard")
    with pytest.raises(ChildProcessError, match=r"rank [01] of 2 ended with exit code 1"):
        fit_on_ranks(shared, _ignore, _ignore, show=_ignore)
