"""Laws of the dual-stream training, on tiny shards made here."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from short_training import SIZE, make_pairs, short_training, trained_with

from attune.images import read_image
from tasks.ablations.plans import with_values
from tasks.harmonizer_files import load_harmonizer
from tasks.loader import read_pairs
from tasks.params import Params
from tasks.sample import CompositeBatch, PairBatch
from tasks.shards import encode_pair, write_manifest, write_shard
from tasks.tensors import to_tensor
from tasks.train import train
from tasks.training.batch_changes import BatchChanges
from tasks.training.fresh_composites import read_fresh_composites
from tasks.training.schedules import is_adversarial, learning_rate
from tasks.training.streams import open_streams
from tasks.training.trainer import Trainer


@pytest.fixture
def tiny(tmp_path: Path) -> Params:
    return short_training(tmp_path)


def _silent(*_: object) -> None:
    pass


class Killed(Exception):
    """Stands for the end of the process."""


def _kill_at(step: int) -> Callable[[int, int], None]:
    def advance(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return advance


def _weights(params: Params) -> dict[str, torch.Tensor]:
    return load_harmonizer(params.paths.harmonizer)[0].state_dict()


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tiny: Params) -> None:
    expected = train(tiny, _silent, _silent)
    whole = _weights(tiny)
    with pytest.raises(Killed):
        train(tiny, _silent, _kill_at(5))
    with pytest.raises(Killed):
        train(tiny, _silent, _kill_at(10))
    reached: list[int] = []
    resumed = train(tiny, _silent, lambda done, total: reached.append(done))
    assert reached[0] == 10  # went on after the checkpoint of step 9
    assert resumed == expected
    for name, tensor in _weights(tiny).items():
        assert torch.equal(tensor, whole[name]), name


def test_a_changed_param_never_resumes_a_foreign_checkpoint(tiny: Params) -> None:
    with pytest.raises(Killed):
        train(tiny, _silent, _kill_at(7))
    changed = trained_with(tiny, optimizer={"lr": tiny.train.optimizer.lr / 2})
    reached: list[int] = []
    train(changed, _silent, lambda done, total: reached.append(done))
    assert reached[0] == 1


def test_edited_code_never_resumes_a_training_and_other_code_does(tiny: Params, edit_code: Callable[[str], None]) -> None:
    def first_step(params: Params) -> int:
        reached: list[int] = []

        def advance(done: int, _: int) -> None:
            reached.append(done)
            raise Killed

        with pytest.raises(Killed):
            train(params, _silent, advance)
        return reached[0]

    with pytest.raises(Killed):
        train(tiny, _silent, _kill_at(7))
    edit_code("tasks/mine.py")
    assert first_step(with_values(tiny, {"speed": {"cache_megabytes": 7}})) == 7
    edit_code("models/losses.py")
    assert first_step(tiny) == 1


def test_the_adversarial_stream_takes_its_share_of_the_steps(tiny: Params) -> None:
    num, share = 2000, tiny.train.adversary.share
    taken = sum(is_adversarial(tiny.train.adversary, tiny.seed, step) for step in range(2, num + 2))
    assert abs(taken - num * share) < 4 * np.sqrt(num * share * (1 - share))  # four standard deviations of the binomial
    assert not any(is_adversarial(tiny.train.adversary, tiny.seed, step) for step in range(tiny.train.adversary.supervised_warmup_steps))


@pytest.mark.parametrize(("share", "expected"), [(0.5, "SASASASA"), (0.25, "SSSASSSA"), (0.4, "SSASASSASA"), (0.0, "SSSS"), (1.0, "AAAA")])
def test_strict_alternation_spaces_the_adversarial_steps_evenly(tiny: Params, share: float, expected: str) -> None:
    section = tiny.train.adversary.model_copy(update={"alternation": "strict", "share": share})
    first = section.supervised_warmup_steps
    steps = range(first, first + len(expected))
    assert "".join("A" if is_adversarial(section, tiny.seed, step) else "S" for step in steps) == expected
    assert not any(is_adversarial(section, tiny.seed, step) for step in range(first))


def test_each_phase_moves_only_its_own_network(tiny: Params) -> None:
    trainer = Trainer(tiny.train, tiny.seed)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, SIZE, SIZE, generator=generator)
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[..., 8:24, 8:24] = 1

    def moved(step: Callable[[], object]) -> tuple[bool, bool]:
        before = [[p.clone() for p in net.parameters()] for net in (trainer.harmonizer, trainer.discriminator)]
        step()
        after = [list(net.parameters()) for net in (trainer.harmonizer, trainer.discriminator)]
        first, second = (any(not torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in zip(before, after, strict=True))
        return first, second

    assert moved(lambda: trainer.supervised_step(PairBatch(image, mask, image.flip(0)))) == (True, False)
    assert moved(lambda: trainer.discriminator_step(image, mask, image)) == (False, True)
    assert moved(lambda: trainer.adversarial_step(CompositeBatch(image, mask, image, image))) == (True, True)


def test_the_learning_rate_warms_up_then_falls_to_its_floor(tiny: Params) -> None:
    section = tiny.train.optimizer
    rates = [learning_rate(section, step) for step in range(section.steps + 1)]
    assert rates[0] == pytest.approx(section.lr / section.warmup_steps)
    assert max(rates) == pytest.approx(section.lr)
    assert rates[-1] == pytest.approx(section.lr * section.lr_floor)
    assert all(first >= second for first, second in pairwise(rates[section.warmup_steps :]))


@pytest.mark.parametrize("augmentation", ["none", "static", "dynamic"])
def test_validation_is_never_augmented(tiny: Params, augmentation: str) -> None:
    data = {"augmentation": augmentation, "jitter": 1.0, "region_share": 1.0, "natural_share": 1.0}
    pairs = read_pairs(tiny.paths.shards, "val")
    errors = [np.square(pair.composite.astype(float) - pair.target)[pair.mask > 0].mean() for pair in pairs]
    scores = train(trained_with(tiny, data=data, optimizer={"steps": 3}), _silent, _silent)
    assert scores["val_composite_fmse"] == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_any_harmonizer_trains_on_fresh_composites(tiny: Params, architecture: str) -> None:
    dynamic = trained_with(tiny, model={"architecture": architecture}, data={"augmentation": "dynamic"}, optimizer={"steps": 3})
    train(dynamic, _silent, _silent)
    fresh = _weights(dynamic)
    train(trained_with(dynamic, data={"augmentation": "none"}), _silent, _silent)
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in _weights(tiny).items())


def test_dynamic_training_names_a_missing_syconet(tiny: Params) -> None:
    elsewhere = tiny.model_copy(update={"paths": tiny.paths.model_copy(update={"syconet": tiny.paths.syconet / "nowhere"})})
    with pytest.raises(ValueError, match=r"nowhere.*no trained syconet here"):
        train(trained_with(elsewhere, data={"augmentation": "dynamic"}), _silent, _silent)


def test_missing_shards_are_named(tiny: Params) -> None:
    shutil.rmtree(tiny.paths.mined)
    with pytest.raises(ValueError, match=r"mined/manifest\.json: no such manifest"):
        train(tiny, _silent, _silent)


def test_training_on_pairs_alone_needs_no_real_composites(tiny: Params) -> None:
    shutil.rmtree(tiny.paths.mined)
    alone = trained_with(tiny, adversary={"share": 0.0}, optimizer={"steps": 2}, val_every=2)
    assert train(alone, _silent, _silent)["adversarial_steps"] == 0
    changes = BatchChanges(alone.train.data, SIZE, seed=1)
    with open_streams(alone, changes, [False, False]) as streams, pytest.raises(ValueError, match="no step is adversarial"):
        next(streams.composites)


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_bfloat16_trains_nearly_as_float32_does(tiny: Params, architecture: str) -> None:
    ratios = {}
    for precision in ("float32", "bfloat16"):
        params = trained_with(tiny, model={"architecture": architecture}, optimizer={"precision": precision, "steps": 6})
        ratios[precision] = train(params, _silent, _silent)["val_fmse_ratio"]
        assert all(tensor.dtype == torch.float32 for tensor in _weights(tiny).values() if tensor.is_floating_point())
    assert ratios["bfloat16"] != ratios["float32"]
    assert ratios["bfloat16"] == pytest.approx(ratios["float32"], abs=0.02)


def test_training_ends_early_when_validation_gets_no_better(tiny: Params) -> None:
    params = trained_with(tiny, optimizer={"lr": 1e-30, "weight_decay": 0.0}, patience=2, keep="best")  # nothing is learned
    reached: list[int] = []
    scores = train(params, _silent, lambda done, total: reached.append(done))
    assert reached[-1] == 3 * params.train.val_every  # the first validation is the best there is
    assert scores["kept_step"] == params.train.val_every


@pytest.mark.parametrize("weights", [{"original": 1.0}, {"original": 1.0, "augmented": 3.0}])
def test_streams_take_their_shares_of_every_batch(tiny: Params, weights: dict[str, float]) -> None:
    every = {"original": 0.0, "retouched": 0.0, "augmented": 0.0, **weights}
    still = {"jitter": 0.0, "region_share": 0.0, "whole_jitter": 0.0, "smallest_crop": 1.0}
    params = trained_with(tiny, data={"stream_weights": every, **still})
    originals = [to_tensor(pair.target).sum() for pair in read_pairs(tiny.paths.shards, "train")[:6]]
    with open_streams(params, BatchChanges(params.train.data, SIZE, seed=1), [False] * 8) as streams:
        for _ in range(8):
            sums = next(streams.pairs).target.sum(dim=(1, 2, 3))
            counted = sum(any(torch.isclose(value, known, rtol=1e-6) for known in originals) for value in sums)
            assert counted == params.train.data.batch_size * weights["original"] / sum(weights.values())


def test_a_stream_with_a_weight_and_no_samples_is_named(tiny: Params) -> None:
    with pytest.raises(ValueError, match="no retouched training pairs"):
        train(trained_with(tiny, data={"stream_weights": {"retouched": 1.0}}), _silent, _silent)


def test_what_is_reported_and_shown(tiny: Params) -> None:
    reported: dict[str, list[int]] = {}
    shown: list[Path] = []

    def report(metrics: Mapping[str, float], step: int) -> None:
        assert all(np.isfinite(value) for value in metrics.values())
        for name in metrics:
            reported.setdefault(name, []).append(step)

    train(with_values(trained_with(tiny, sheet_every=6), {"speed": {"report_every": 4}}), report, _silent, show=shown.append)
    for name in ("lr", "images_per_second", "data_wait_share", "peak_megabytes"):
        assert reported[name] == [4, 8, 12]
    assert reported["val_fmse"] == [3, 6, 9, 12]
    assert {"reconstruction", "grad_norm", "adversarial", "adversarial_grad_norm"} <= set(reported)
    assert {"discriminator", "accuracy_on_fake", "accuracy_on_natural"} <= set(reported)
    assert [path.name for path in shown] == ["sheet_000006.png", "sheet_000012.png"]
    assert read_image(shown[0]).shape == read_image(shown[1]).shape


def test_missing_validation_pairs_are_named(tiny: Params) -> None:
    samples = [encode_pair(pair, jpeg_quality=95) for pair in make_pairs(4, "train")]
    write_manifest(tiny.paths.shards, [write_shard(tiny.paths.shards / "train-00000.tar", samples, split="train")], kind="pairs", meta={})
    with pytest.raises(ValueError, match="val"):
        train(tiny, _silent, _silent)


@pytest.mark.slow
def test_the_harmonizer_overfits_eight_pairs_to_a_twentieth_of_their_error_in_300_steps(tiny: Params) -> None:
    params = trained_with(
        tiny, model={"options": {"small": {"width": 16}}}, data={"jitter": 0.0, "smallest_crop": 1.0, "batch_size": 8},
        optimizer={"steps": 300, "lr": 3e-3, "ema_decay": 0.9, "losses": {"foreground_mse": 1.0}}, adversary={"share": 0.0}, val_every=300,
    )
    pairs = make_pairs(8, "train")
    shards = [write_shard(tiny.paths.shards / "train-00000.tar", [encode_pair(p, jpeg_quality=95) for p in pairs], split="train")]
    held = [dataclasses.replace(pair, key=f"v-{pair.key}") for pair in pairs]
    shards.append(write_shard(tiny.paths.shards / "val-00000.tar", [encode_pair(p, jpeg_quality=95) for p in held], split="val"))
    write_manifest(tiny.paths.shards, shards, kind="pairs", meta={})
    scores = train(params, _silent, _silent)
    assert scores["val_fmse_ratio"] < 0.05


def test_training_from_a_folder_begins_with_its_weights(tiny: Params, tmp_path: Path) -> None:
    train(tiny, _silent, _silent)
    before = tmp_path / "before"
    shutil.copytree(tiny.paths.harmonizer, before)
    standing = trained_with(tiny, start_from=str(before), optimizer={"lr": 1e-30, "weight_decay": 0.0, "steps": 3})
    train(standing, _silent, _silent)
    expected = load_harmonizer(before)[0].state_dict()
    for name, tensor in _weights(standing).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-7, rtol=0, msg=name)


def test_training_from_a_harmonizer_of_other_tensors_is_refused_by_the_folder(tiny: Params, tmp_path: Path) -> None:
    train(tiny, _silent, _silent)
    before = tmp_path / "before"
    shutil.copytree(tiny.paths.harmonizer, before)
    options = {name: dict(values) for name, values in tiny.train.model.options.items()}
    options["small"]["num_knots"] += 2
    with pytest.raises(ValueError, match=r"train\.start_from.*before.*curve_net"):
        train(trained_with(tiny, start_from=str(before), model={"options": options}), _silent, _silent)


def test_drawn_composites_are_functions_of_seed_and_step_and_leave_the_background(tiny: Params) -> None:
    params = trained_with(tiny, data={"drawn": {**tiny.train.data.drawn.model_dump(), "share": 1.0}, "whole_jitter": 0.0})
    fresh = read_fresh_composites(params.paths.shards, params.train.data.drawn, params.paths.raw)
    changes = BatchChanges(params.train.data, SIZE, seed=1, fresh=fresh)
    with open_streams(params, changes, [False] * 2) as first, open_streams(params, changes, [False] * 2) as second:
        batches = [(next(first.pairs), next(second.pairs)) for _ in range(2)]
    for one, other in batches:
        assert torch.equal(one.composite, other.composite)
        outside = (one.mask == 0).expand_as(one.target)
        assert torch.equal(one.composite[outside], one.target[outside])
        assert (one.composite - one.target).abs().amax() > 0.02
    assert not torch.equal(batches[0][0].composite, batches[1][0].composite)


def test_training_on_drawn_composites_resumes_to_the_same_weights(tiny: Params) -> None:
    drawn = {"drawn": {**tiny.train.data.drawn.model_dump(), "share": 0.7}, "soft_share": 0.5, "whole_share": 0.5}
    losses = {"losses": {"foreground_mse": 8.0, "foreground_rmse": 1.0, "tone_ends": 0.2}, "render_every": 2}
    params = trained_with(tiny, data=drawn, optimizer=losses)
    train(params, _silent, _silent)
    whole = _weights(params)
    with pytest.raises(Killed):
        train(params, _silent, _kill_at(7))
    train(params, _silent, _silent)
    for name, tensor in _weights(params).items():
        assert torch.equal(tensor, whole[name]), name
