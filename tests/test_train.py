"""Laws of the dual-stream training, on tiny shards made here."""

import dataclasses
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.harmonizer_files import load_harmonizer
from tasks.loader import read_pairs
from tasks.params import Params, load_params
from tasks.sample import CompositeBatch, Pair, PairBatch, RealComposite
from tasks.seeds import numpy_generator
from tasks.shard_samples import write_samples
from tasks.shards import encode_composite, encode_pair, write_manifest, write_shard
from tasks.syconet_files import save_syconet
from tasks.train import train
from tasks.training.batch_changes import BatchChanges
from tasks.training.schedules import is_adversarial, learning_rate
from tasks.training.streams import open_streams
from tasks.training.trainer import Trainer

SIZE = 32


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture and a square mask."""
    coarse = rng.uniform(40, 200, (4, 4, 3))
    image = np.kron(coarse, np.ones((SIZE // 4, SIZE // 4, 1))).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    top, left = rng.integers(2, 12, 2)
    mask[top : top + 16, left : left + 16] = 255
    return image, mask


def _pairs(count: int, split: str) -> list[Pair]:
    pairs = []
    for index in range(count):
        target, mask = _scene(numpy_generator(1, split, index))
        darker = (target * 0.6).astype(np.uint8)
        composite = np.where(mask[..., None] > 0, darker, target)
        pairs.append(Pair(f"{split}-{index}", "original", "made", f"{split}-{index}", composite, mask, target))
    return pairs


def _rows() -> list[dict[str, str]]:
    """What the samples of the training run are: of its training pairs the last four are SycoNet's copies."""
    kinds = [("train", "original")] * 6 + [("train", "augmented")] * 4 + [("val", "original")] * 4
    return [
        {"key": f"{split}-{n}", "split": split, "kind": kind, "source": "made", "subset": "", "group": f"g{n}", "parent": f"p{n}"}
        for n, (split, kind) in enumerate(kinds)
    ]


def _composites(count: int) -> list[RealComposite]:
    result = []
    for index in range(count):
        plate, mask = _scene(numpy_generator(2, index))
        other, _ = _scene(numpy_generator(3, index))
        result.append(RealComposite(f"c-{index}", np.where(mask[..., None] > 0, other, plate), mask, plate, plate))
    return result


@pytest.fixture
def tiny(tmp_path: Path) -> Params:
    """Params of a training run of twelve steps, with its shards on disk."""
    params = load_params()
    names = ("shards", "mined", "syconet", "harmonizer", "metrics", "work")
    paths = params.paths.model_copy(update={name: tmp_path / name for name in names})
    section = params.train.model_copy(update={
        "size": SIZE, "width": 8, "num_knots": 6, "grid": 2, "steps": 12, "batch_size": 4, "warmup_steps": 2, "supervised_warmup_steps": 2,
        "adversarial_share": 0.4, "val_every": 3, "threads": 1, "discriminator_width": 8, "ema_decay": 0.5,
    })
    params = params.model_copy(update={"paths": paths, "train": section})
    shards = [
        write_shard(paths.shards / f"{split}-00000.tar", [encode_pair(pair, jpeg_quality=95) for pair in _pairs(count, split)], split=split)
        for split, count in (("train", 10), ("val", 4))
    ]
    write_manifest(paths.shards, shards, kind="pairs", meta={})
    write_samples(paths.shards, _rows())
    torch.manual_seed(0)
    config = SycoNetConfig(size=16, latent_dim=2, num_luts=2, lut_dim=3, width=8)
    save_syconet(paths.syconet, SycoNet(config), config, {})
    mined = write_shard(paths.mined / "train-00000.tar", [encode_composite(c, jpeg_quality=95) for c in _composites(6)], split="train")
    write_manifest(paths.mined, [mined], kind="composites", meta={})
    return params


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
    changed = tiny.model_copy(update={"train": tiny.train.model_copy(update={"lr": tiny.train.lr / 2})})
    reached: list[int] = []
    train(changed, _silent, lambda done, total: reached.append(done))
    assert reached[0] == 1


def test_the_adversarial_stream_takes_its_share_of_the_steps(tiny: Params) -> None:
    num, share = 2000, tiny.train.adversarial_share
    taken = sum(is_adversarial(tiny.train, tiny.seed, step) for step in range(2, num + 2))
    assert abs(taken - num * share) < 4 * np.sqrt(num * share * (1 - share))  # four standard deviations of the binomial
    assert not any(is_adversarial(tiny.train, tiny.seed, step) for step in range(tiny.train.supervised_warmup_steps))


@pytest.mark.parametrize(("share", "expected"), [(0.5, "SASASASA"), (0.25, "SSSASSSA"), (0.4, "SSASASSASA"), (0.0, "SSSS"), (1.0, "AAAA")])
def test_strict_alternation_spaces_the_adversarial_steps_evenly(tiny: Params, share: float, expected: str) -> None:
    section = tiny.train.model_copy(update={"alternation": "strict", "adversarial_share": share})
    first = section.supervised_warmup_steps
    steps = range(first, first + len(expected))
    assert "".join("A" if is_adversarial(section, tiny.seed, step) else "S" for step in steps) == expected
    assert not any(is_adversarial(section, tiny.seed, step) for step in range(first))


def test_each_phase_moves_only_its_own_network(tiny: Params) -> None:
    trainer = Trainer(tiny)
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
    section = tiny.train
    rates = [learning_rate(section, step) for step in range(section.steps + 1)]
    assert rates[0] == pytest.approx(section.lr / section.warmup_steps)
    assert max(rates) == pytest.approx(section.lr)
    assert rates[-1] == pytest.approx(section.lr * section.lr_floor)
    assert all(first >= second for first, second in pairwise(rates[section.warmup_steps :]))


@pytest.mark.parametrize("augmentation", ["none", "static", "dynamic"])
def test_validation_is_never_augmented(tiny: Params, augmentation: str) -> None:
    section = tiny.train.model_copy(update={"augmentation": augmentation, "jitter": 1.0, "region_share": 1.0, "natural_share": 1.0})
    pairs = read_pairs(tiny.paths.shards, "val")
    errors = [np.square(pair.composite.astype(float) - pair.target)[pair.mask > 0].mean() for pair in pairs]
    scores = train(tiny.model_copy(update={"train": section}), _silent, _silent)
    assert scores["val_composite_fmse"] == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("architecture", ["small", "pixel"])
def test_any_harmonizer_trains_on_fresh_composites(tiny: Params, architecture: str) -> None:
    dynamic = tiny.model_copy(update={"train": tiny.train.model_copy(update={"augmentation": "dynamic", "architecture": architecture})})
    train(dynamic, _silent, _silent)
    fresh = _weights(dynamic)
    train(tiny.model_copy(update={"train": dynamic.train.model_copy(update={"augmentation": "none"})}), _silent, _silent)
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in _weights(tiny).items())


def test_dynamic_training_names_a_missing_syconet(tiny: Params) -> None:
    paths = tiny.paths.model_copy(update={"syconet": tiny.paths.syconet / "nowhere"})
    section = tiny.train.model_copy(update={"augmentation": "dynamic"})
    with pytest.raises(ValueError, match=r"nowhere.*no trained syconet here"):
        train(tiny.model_copy(update={"train": section, "paths": paths}), _silent, _silent)


def test_training_on_pairs_alone_needs_no_real_composites(tiny: Params) -> None:
    section = tiny.train.model_copy(update={"adversarial_share": 0.0, "steps": 2, "val_every": 2})
    shutil.rmtree(tiny.paths.mined)
    alone = tiny.model_copy(update={"train": section})
    assert train(alone, _silent, _silent)["adversarial_steps"] == 0
    changes = BatchChanges(section, 1)
    with open_streams(alone, changes, [False, False]) as streams, pytest.raises(ValueError, match="no step is adversarial"):
        next(streams.composites)


def test_missing_validation_pairs_are_named(tiny: Params) -> None:
    samples = [encode_pair(pair, jpeg_quality=95) for pair in _pairs(4, "train")]
    write_manifest(tiny.paths.shards, [write_shard(tiny.paths.shards / "train-00000.tar", samples, split="train")], kind="pairs", meta={})
    with pytest.raises(ValueError, match="val"):
        train(tiny, _silent, _silent)


@pytest.mark.slow
def test_the_harmonizer_overfits_eight_pairs_to_a_twentieth_of_their_error_in_300_steps(tiny: Params) -> None:
    section = tiny.train.model_copy(update={
        "steps": 300, "jitter": 0.0, "smallest_crop": 1.0, "adversarial_share": 0.0, "val_every": 300, "lr": 3e-3, "ema_decay": 0.9,
        "loss": "foreground_mse", "batch_size": 8, "width": 16,
    })
    pairs = _pairs(8, "train")
    shards = [write_shard(tiny.paths.shards / "train-00000.tar", [encode_pair(p, jpeg_quality=95) for p in pairs], split="train")]
    held = [dataclasses.replace(pair, key=f"v-{pair.key}") for pair in pairs]
    shards.append(write_shard(tiny.paths.shards / "val-00000.tar", [encode_pair(p, jpeg_quality=95) for p in held], split="val"))
    write_manifest(tiny.paths.shards, shards, kind="pairs", meta={})
    scores = train(tiny.model_copy(update={"train": section}), _silent, _silent)
    assert scores["val_fmse_ratio"] < 0.05
