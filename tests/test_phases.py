"""The shipped weights: trainings one after another, each from the one before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from short_training import short_training, trained_with

import tasks.phases
from attune.files import read_json
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params, Phase
from tasks.phases import phase_params, train_in_phases

PHASE = {
    "size": 32, "trainings": 1, "steps": 3, "batch_size": 4, "lr": 1e-3, "ema_decay": 0.5, "natural_share": 0.1, "degraded_share": 0.0,
    "foreground_rmse": 0.5, "tone_ends": 0.1,
}


@pytest.fixture
def two_phases(tmp_path: Path) -> Params:
    params = trained_with(short_training(tmp_path), adversary={"share": 0.0})
    phases = [Phase(**PHASE), Phase(**{**PHASE, "steps": 2, "lr": 1e-30, "natural_share": 0.5, "degraded_share": 0.3})]
    weights = params.weights.model_copy(update={"folder": tmp_path / "shipped", "start_from": "none", "phases": phases})
    still = params.train.optimizer.model_copy(update={"weight_decay": 0.0})
    return params.model_copy(update={"weights": weights, "train": params.train.model_copy(update={"optimizer": still})})


def _silent(*_: object) -> None:
    pass


def test_each_training_starts_from_the_one_before_and_the_last_is_shipped(two_phases: Params) -> None:
    train_in_phases(two_phases, _silent, _silent)
    first = load_harmonizer(phase_params(two_phases, 0, "none").paths.harmonizer)[0].state_dict()
    shipped = load_harmonizer(two_phases.weights.folder)[0].state_dict()
    for name, tensor in shipped.items():  # the second learns at a rate of nothing
        torch.testing.assert_close(tensor, first[name], atol=1e-7, rtol=0, msg=name)


def test_a_training_that_is_done_is_not_done_again_until_its_settings_change(
    two_phases: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = train_in_phases(two_phases, _silent, _silent)
    trained: list[float] = []
    real = tasks.phases.train

    def counted(params: Params, *rest: Any) -> dict[str, float]:
        trained.append(params.train.optimizer.steps)
        return real(params, *rest)

    counted.__module__ = real.__module__
    monkeypatch.setattr(tasks.phases, "train", counted)
    assert train_in_phases(two_phases, _silent, _silent) == figures
    assert trained == []
    phases = [two_phases.weights.phases[0], two_phases.weights.phases[1].model_copy(update={"steps": 1})]
    train_in_phases(two_phases.model_copy(update={"weights": two_phases.weights.model_copy(update={"phases": phases})}), _silent, _silent)
    assert trained == [1]


def test_a_phase_of_several_trainings_ships_the_mean_of_their_weights_or_the_best_of_them(two_phases: Params) -> None:
    phases = [two_phases.weights.phases[0].model_copy(update={"trainings": 2})]
    params = two_phases.model_copy(update={"weights": two_phases.weights.model_copy(update={"phases": phases})})
    figures = train_in_phases(params, _silent, _silent)
    folders = [phase_params(params, 0, "none", training=number).paths.harmonizer for number in range(2)]
    one, other = (load_harmonizer(folder)[0].state_dict() for folder in folders)
    assert any(not torch.equal(one[name], other[name]) for name in one), "each training has its own seed"
    mean = load_harmonizer(folders[0].parents[1] / "mean")[0].state_dict()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + other[name]) / 2, msg=name)
    shipped = load_harmonizer(params.weights.folder)[0].state_dict()
    assert any(all(torch.equal(shipped[name], kept[name]) for name in kept) for kept in (one, other, mean))
    single = [read_json(folder.parent / "done.json")["figures"]["val_fmse"] for folder in folders]
    assert figures["val_fmse"] <= min(single)


def test_a_phase_changes_what_it_names_and_nothing_else(two_phases: Params) -> None:
    changed = phase_params(two_phases, 1, "elsewhere").train
    assert (changed.start_from, changed.data.natural_share, changed.optimizer.steps) == ("elsewhere", 0.5, 2)
    assert changed.optimizer.losses.foreground_rmse == 0.5
    assert changed.patience == 0
    assert (changed.data.batch_size, changed.data.degraded_share, changed.optimizer.ema_decay) == (4, 0.3, 0.5)
    assert changed.adversary == two_phases.train.adversary
    assert changed.data.drawn == two_phases.train.data.drawn


def test_a_phase_that_looks_at_more_than_the_shards_hold_is_refused(two_phases: Params) -> None:
    few = two_phases.model_copy(update={"augment": two_phases.augment.model_copy(update={"size": 24})})
    with pytest.raises(ValueError, match=r"weights\.phases: 32 px; the shards hold 24 px \(augment\.size\)"):
        train_in_phases(few, _silent, _silent)
