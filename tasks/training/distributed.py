"""Several processes that train one model, each on its part of every batch: what they tell one another.

Gradients are averaged here and not by torch's DistributedDataParallel: its hooks belong to one backward pass of one network, and a step has
three phases over two networks, of which one is frozen in two. Weights, optimizers and averages then go the same way on every rank.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.nn.modules.batchnorm import _BatchNorm

CPU = torch.device("cpu")
TIMEOUT = timedelta(minutes=30)  # rank 0 validates and saves while the others wait


@dataclass(frozen=True)
class Ranks:
    """This process's place among `count` that train together; rank 0 validates, saves and reports."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def average(self, network: nn.Module) -> None:
        """Make `network`'s gradients, and what its batch norms have counted, the mean over all ranks."""
        if self.count == 1:
            return
        tensors = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        for module in network.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                tensors += [module.running_mean, module.running_var]
        whole = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(whole)
        whole /= self.count
        for tensor, mean in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def agree(self, decision: bool) -> bool:
        """Rank 0's `decision`, on every rank."""
        if self.count == 1:
            return decision
        told = torch.tensor(float(decision), device=self.device)
        distributed.broadcast(told, src=0)
        return bool(told)

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The mean over all ranks of figures that each of them has under the same names."""
        if self.count == 1:
            return dict(figures)
        whole = torch.tensor([figures[name] for name in sorted(figures)], dtype=torch.float64, device=self.device)
        distributed.all_reduce(whole)
        return dict(zip(sorted(figures), (whole / self.count).tolist(), strict=True))

    def check_equal(self, *networks: nn.Module) -> None:
        """Raise RuntimeError if the ranks' networks differ by a single bit."""
        if self.count == 1:
            return
        own = torch.cat([tensor.detach().double().flatten() for network in networks for tensor in network.state_dict().values()])
        largest, smallest = own.clone(), own
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
        if not torch.equal(largest, smallest):
            raise RuntimeError(f"the weights of {self.count} ranks differ in {int((largest != smallest).sum())} of {len(largest)} numbers")


def training_device(rank: int, count: int) -> torch.device:
    """The device that `rank` trains on: a GPU of its own where there are GPUs. Raises ValueError if there are too few of them."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if count > torch.cuda.device_count():
        raise ValueError(f"train.num_processes is {count}; this machine has {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", rank)


ALONE = Ranks()


@contextmanager
def joined(rank: int, count: int, store: TCPStore) -> Iterator[Ranks]:
    """This process as `rank` of `count`, which all hold the same `store`: NCCL between GPUs, gloo between CPUs."""
    device = training_device(rank, count)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    try:
        yield Ranks(rank, count, device)
    finally:
        distributed.destroy_process_group()
