"""Training images per second, beside the bare work of the same step on random tensors: `python -m benchmarks.train_step`.

The loop is the trainer's own: shards are read and decoded, batches changed, supervised steps taken, by the params of the starter's and the
photos profile. Bare is the forward pass, the loss, the backward pass, the optimizer and the running average on one batch that is there.
The two take turns in one process, in a steady state. The line below the table says where processor time goes: that ratio also holds on a
busy machine.
"""

import shutil
import tempfile
import time
from pathlib import Path

import cv2
import torch

from benchmarks.harness import Timings, begin_as_stages_do, close, print_machine, print_table
from benchmarks.shards import pairs
from flows.configure import configure
from tasks.loader import BatchIterator, Decoded, iter_pair_batches
from tasks.params import Params, load_params
from tasks.sample import PairBatch
from tasks.shards import EncodedSample, encode_pair, write_manifest, write_shard
from tasks.training.batch_changes import BatchChanges
from tasks.training.streams import pair_stream
from tasks.training.trainer import Trainer

TARGET = 0.9
PROFILES = ("starter", "photos")
NUM_SAMPLES, SIZE = 512, 128
STEPS_PER_TURN, NUM_ROUNDS, NUM_TIMED = 10, 7, 12
SETTLE_S = 0.5  # before a turn of the loop: the loaders fill their queues, as they do while a long training goes on


def read_profile(name: str, folder: Path) -> Params:
    """The params of a profile, with shards below `folder`."""
    shutil.copy("params.yaml", folder / "params.yaml")
    configure(name, params=folder / "params.yaml")
    params = load_params(folder / "params.yaml")
    paths = params.paths.model_copy(update={"shards": folder / "shards"})
    return params.model_copy(update={"paths": paths})


def write_pairs(folder: Path) -> None:
    """Shards of training pairs at the size that stage augment writes."""
    samples = [encode_pair(pair, jpeg_quality=95).members for pair in pairs(side=SIZE)]
    numbered = [EncodedSample(f"{number:05d}", samples[number % len(samples)]) for number in range(NUM_SAMPLES)]
    write_manifest(folder, [write_shard(folder / "train-00000.tar", numbered, split="train")], kind="pairs", meta={})


def random_batch(params: Params) -> PairBatch:
    """A batch at the training size that is there already."""
    count, size = params.train.data.batch_size, params.train.model.size
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return PairBatch(torch.rand(count, 3, size, size), mask, torch.rand(count, 3, size, size))


def take_turns(trainer: Trainer, batch: PairBatch, stream: BatchIterator[PairBatch]) -> Timings:
    """Seconds per turn of `STEPS_PER_TURN` steps."""
    seconds: dict[str, list[float]] = {"bare": [], "loop": []}
    for turn in range(NUM_ROUNDS):
        for name in ("bare", "loop") if turn % 2 else ("loop", "bare"):
            time.sleep(SETTLE_S)
            began = time.perf_counter()
            for _ in range(STEPS_PER_TURN):
                trainer.supervised_step(batch if name == "bare" else next(stream))
            seconds[name].append(time.perf_counter() - began)
    return Timings({name: tuple(values) for name, values in seconds.items()})


def print_parts(trainer: Trainer, params: Params, batch: PairBatch) -> None:
    """Where a step's processor time goes: what the reading threads do for it, and the step itself. One thread each."""
    torch.set_num_threads(1)
    changes = BatchChanges(params.train.data, params.train.model.size, seed=params.seed)
    reading, stepping = [time.thread_time()], [time.thread_time()]  # the clock of each thread, batch by batch

    def prepare(decoded: Decoded, step: int) -> PairBatch:
        changed = changes.pairs(decoded, step)
        reading.append(time.thread_time())
        return changed

    with iter_pair_batches(
        params.paths.shards, "train", batch_size=params.train.data.batch_size, seed=1, num_threads=1, prepare=prepare,
        cache_megabytes=params.speed.cache_megabytes,
    ) as batches:
        for _ in range(NUM_SAMPLES // params.train.data.batch_size + NUM_TIMED):
            next(batches)
    for _ in range(NUM_TIMED + 1):
        trainer.supervised_step(batch)
        stepping.append(time.thread_time())
    read, step = (1000 * (stamps[-1] - stamps[-1 - NUM_TIMED]) / NUM_TIMED for stamps in (reading, stepping))
    print(f"  processor time per step: read and change {read:.1f} ms, bare step {step:.1f} ms; ratio {step / (step + read):.2f}")
    torch.set_num_threads(params.train.threads)


def main() -> None:
    """Both profiles; the lower ratio counts."""
    cv2.setNumThreads(1)
    print_machine()
    ratios = []
    for name in PROFILES:
        with tempfile.TemporaryDirectory(prefix="bench-train-") as temporary:
            params = read_profile(name, Path(temporary))
            write_pairs(params.paths.shards)
            torch.set_num_threads(params.train.threads)
            trainer, batch = Trainer(params.train, params.seed), random_batch(params)
            with pair_stream(params, BatchChanges(params.train.data, params.train.model.size, seed=params.seed), range(10**6)) as stream:
                for _ in range(NUM_SAMPLES // params.train.data.batch_size):  # the whole split has been decoded once
                    trainer.supervised_step(next(stream))
                timings = take_turns(trainer, batch, stream)
            print_table(
                f"profile {name}, {params.train.model.size} px, batches of {params.train.data.batch_size}", timings, reference="bare",
                units=params.train.data.batch_size * STEPS_PER_TURN, unit="image",
            )
            print_parts(trainer, params, batch)
            ratios.append(timings.ratio("loop", "bare"))
    close("train_step", min(ratios), TARGET)


if __name__ == "__main__":
    begin_as_stages_do("train_step")
    main()
