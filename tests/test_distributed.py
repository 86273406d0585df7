"""Laws of a training that several processes share, with two of them on this machine's CPU."""

from pathlib import Path

import pytest
import torch
from short_training import SIZE, short_training, trained_with
from torch import nn
from torch.distributed import TCPStore

from tasks.params import Params
from tasks.sample import PairBatch
from tasks.training.batch_changes import BatchChanges
from tasks.training.distributed import ALONE, Ranks, joined
from tasks.training.schedules import plan_steps
from tasks.training.streams import open_streams
from tasks.training.trainer import Trainer

COUNT = 2


def _batch() -> PairBatch:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(4, 3, SIZE, SIZE, generator=generator)
    mask = torch.zeros(4, 1, SIZE, SIZE)
    mask[..., 4:20, 4:24] = 1
    return PairBatch(mask * target.sqrt() + (1 - mask) * target, mask, target)


def _part(batch: PairBatch, rank: int) -> PairBatch:
    return PairBatch(*(stack.chunk(COUNT)[rank] for stack in vars(batch).values()))


def _counted(network: nn.Module) -> torch.Tensor:
    return torch.cat([network[1].running_mean, network[1].running_var])


def _plan(params: Params) -> list[bool]:
    return plan_steps(params.train.adversary, params.seed, params.train.optimizer.steps)


def _read(params: Params, ranks: Ranks) -> list[torch.Tensor]:
    """The masks and composites of all pair batches, unchanged but for the size."""
    still = trained_with(params, data={"jitter": 0.0, "region_share": 0.0, "whole_jitter": 0.0, "smallest_crop": 1.0})
    plan, found = _plan(params), []
    with open_streams(still, BatchChanges(still.train.data, SIZE, seed=1), plan, ranks=ranks) as streams:
        for adversarial in plan:
            found.append(next(streams.composites if adversarial else streams.pairs).composite)
    return found


def _rank(rank: int, port: int, params: Params, folder: Path) -> None:
    """What one of the processes does: train on the streams, look at them, average a batch norm; and what it holds then."""
    torch.set_num_threads(1)
    with joined(rank, COUNT, TCPStore("127.0.0.1", port, is_master=False)) as ranks:
        read = _read(params, ranks)
        first = Trainer(params.train, params.seed, ranks=ranks)
        first.supervised_step(_part(_batch(), rank))
        trainer, plan = Trainer(params.train, params.seed, ranks=ranks), _plan(params)
        with open_streams(params, BatchChanges(params.train.data, SIZE, seed=params.seed, rank=rank), plan, ranks=ranks) as streams:
            for adversarial in plan:
                trainer.step(streams, adversarial=adversarial)
        ranks.check_equal(trainer.harmonizer, trainer.discriminator, trainer.average)
        normed = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        normed(torch.full((2, 3, 4, 4), float(rank)) + torch.rand(2, 3, 4, 4)).sum().backward()
        own = _counted(normed).clone()
        ranks.average(normed)
        agreed = ranks.agree(ranks.leads)
        figures = ranks.mean({"b": 2.0 + rank, "a": float(rank)})
        with torch.no_grad():
            next(trainer.harmonizer.parameters()).view(-1)[0] += 1e-7 * rank
        noticed = False
        try:
            ranks.check_equal(trainer.harmonizer)
        except RuntimeError:
            noticed = True
    torch.save(
        {
            "read": read, "first": first.harmonizer.state_dict(), "average": trainer.average.state_dict(), "own": own,
            "discriminator": trainer.discriminator.state_dict(), "counted": _counted(normed), "agreed": agreed, "figures": figures,
            "noticed": noticed,
        },
        folder / f"rank{rank}.pt",
    )


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    params = short_training(tmp_path)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torch.multiprocessing.spawn(_rank, (store.port, params, tmp_path), nprocs=COUNT)
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(COUNT))

    # together they read what one reads alone, each sample mirrored or not
    for whole, first, second in zip(_read(params, ALONE), one["read"], other["read"], strict=True):
        for alone, together in zip(whole, torch.cat([first, second]), strict=True):
            assert torch.equal(alone, together) or torch.equal(alone, together.flip(-1))
    for name in ("average", "discriminator"):  # and end with the same weights
        assert all(torch.equal(tensor, other[name][key]) for key, tensor in one[name].items())
    assert one["noticed"]
    assert other["noticed"]  # that one weight differs by 1e-7

    single = Trainer(params.train, params.seed)
    single.supervised_step(_batch())
    for key, tensor in single.harmonizer.state_dict().items():  # a step on two halves is a step on the whole
        torch.testing.assert_close(one["first"][key], tensor, rtol=1e-4, atol=1e-6)

    torch.testing.assert_close(one["counted"], (one["own"] + other["own"]) / 2)
    assert torch.equal(one["counted"], other["counted"])
    assert one["agreed"]
    assert other["agreed"]
    assert one["figures"] == other["figures"] == {"a": 0.5, "b": 2.5}
