"""Dual-stream training of the harmonizer: supervised steps on pairs, adversarial steps on real composites.

Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. Departures, each for small data and two
cores: the reconstruction loss may be normalised by the foreground (`train.loss`), supervised steps may leave the discriminator out
(`train.discriminate_pairs`), and the weights kept are a running average (EMA).

Every random choice is a function of (seed, step), and so is each batch: a killed run continues where its last checkpoint stands and
ends with the weights of an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.discriminator import Discriminator, DiscriminatorConfig
from models.harmonizer import HarmonizerConfig, build_harmonizer
from models.losses import discriminator_loss, foreground_l1, foreground_mse, generator_loss, whole_image_l1
from tasks import params as schema
from tasks.checkpoints import fingerprint, load_resumable, save_resumable
from tasks.files import read_json, written_atomically
from tasks.harmonizer_files import save_harmonizer
from tasks.images import to_tensor
from tasks.jitter import invent_regions, recolor_foregrounds, recolor_wholes, reframe_composites, reframe_pairs, shrink, undo_some
from tasks.loader import BatchIterator, iter_composite_batches, iter_pair_batches, read_pairs
from tasks.sample import CompositeBatch, PairBatch
from tasks.seeds import derive_seed, torch_generator

Report = Callable[[Mapping[str, float], int], None]
Advance = Callable[[int, int], None]

RECONSTRUCTION = {"whole_l1": whole_image_l1, "foreground_l1": foreground_l1, "foreground_mse": foreground_mse}


@dataclass
class Progress:
    """Where training stands: what a checkpoint holds beside weights and optimizers."""

    step: int = 0
    supervised_steps: int = 0
    adversarial_steps: int = 0
    kept_step: int = 0
    kept_fmse: float = math.inf


class Trainer:
    """The networks, their optimizers and the three phases of a step. `train` drives it."""

    def __init__(self, params: schema.Params, device: torch.device) -> None:
        self.section = params.train
        self.seed = params.seed
        self.device = device
        self.config = harmonizer_config(params.train)
        torch.manual_seed(derive_seed(params.seed, "train", "weights"))
        self.harmonizer = _placed(build_harmonizer(self.config), device)
        self.discriminator = _placed(Discriminator(DiscriminatorConfig(self.section.size, self.section.discriminator_width)), device)
        self.average = AveragedModel(self.harmonizer, multi_avg_fn=get_ema_multi_avg_fn(self.section.ema_decay), use_buffers=True)
        section = self.section
        self.optimizer = torch.optim.AdamW(self.harmonizer.parameters(), lr=section.lr, weight_decay=section.weight_decay)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=section.discriminator_lr, betas=(0.5, 0.999))
        self.kept: dict[str, Tensor] = {}
        self.progress = Progress()

    def is_adversarial(self, step: int) -> bool:
        """Whether `step` belongs to the adversarial stream: Bernoulli(`adversarial_share`) after the supervised warm-up."""
        if step < self.section.supervised_warmup_steps:
            return False
        draw = torch.rand((), generator=torch_generator(self.seed, "stream", step)).item()
        return draw < self.section.adversarial_share

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to `lr_floor` of `lr`."""
        section = self.section
        if step < section.warmup_steps:
            return section.lr * (step + 1) / section.warmup_steps
        done = (step - section.warmup_steps) / max(1, section.steps - section.warmup_steps)
        return section.lr * (section.lr_floor + (1 - section.lr_floor) * 0.5 * (1 + math.cos(math.pi * done)))

    def step(self, pairs: Iterator[PairBatch], composites: Iterator[CompositeBatch]) -> dict[str, Tensor]:
        """One step of whichever stream is due; its losses."""
        progress = self.progress
        if self.is_adversarial(progress.step):
            losses = self.adversarial_step(_to_device(next(composites), self.device))
            progress.adversarial_steps += 1
        else:
            losses = self.supervised_step(_to_device(next(pairs), self.device))
            progress.supervised_steps += 1
        progress.step += 1
        return losses

    def supervised_step(self, batch: PairBatch) -> dict[str, Tensor]:
        """One harmonizer update towards the target of each pair; the losses."""
        generator = torch_generator(self.seed, "jitter", self.progress.step)
        batch = reframe_pairs(batch, self.section.size, generator, smallest=self.section.smallest_crop)
        batch = recolor_foregrounds(batch, self.section.jitter, generator)
        batch = invent_regions(batch, self.section.region_share, generator)
        batch = undo_some(batch, self.section.natural_share, generator)
        batch = recolor_wholes(batch, self.section.whole_jitter, generator)
        harmonized = self.harmonizer(batch.composite, batch.mask).harmonized
        reconstruction = RECONSTRUCTION[self.section.loss](harmonized, batch.target, batch.mask)
        losses = {"reconstruction": reconstruction}
        loss = self.section.reconstruction_weight * reconstruction
        if self.section.discriminate_pairs:
            losses["adversarial"] = self._adversarial(harmonized, batch.mask)
            loss = loss + (1 - self.section.reconstruction_weight) * losses["adversarial"]
        losses["grad_norm"] = self._update(loss)
        if self.section.discriminate_pairs:
            losses |= self.discriminator_step(harmonized.detach(), batch.mask, batch.target)
        return losses

    def adversarial_step(self, batch: CompositeBatch) -> dict[str, Tensor]:
        """One harmonizer update that makes real composites pass for natural photographs, then one discriminator update; the losses."""
        batch = reframe_composites(batch, self.section.size, torch_generator(self.seed, "jitter", self.progress.step))
        plate = batch.plate if self.config.plate else None
        harmonized = self.harmonizer(batch.composite, batch.mask, plate).harmonized
        adversarial = self._adversarial(harmonized, batch.mask)
        grad_norm = self._update((1 - self.section.reconstruction_weight) * adversarial)
        return {
            "adversarial": adversarial,
            "adversarial_grad_norm": grad_norm,
            **self.discriminator_step(harmonized.detach(), batch.mask, batch.natural),
        }

    def discriminator_step(self, harmonized: Tensor, mask: Tensor, natural: Tensor) -> dict[str, Tensor]:
        """One discriminator update (natural: 1 all over; harmonized: 1 outside its mask, 0 inside); its loss and accuracies."""
        on_fake, on_natural = self.discriminator(harmonized), self.discriminator(natural)
        loss = discriminator_loss(on_fake, on_natural, mask, balanced=self.section.balanced_adversarial)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        with torch.no_grad():
            fake_accuracy = ((on_fake < 0) * mask).sum() / mask.sum().clamp_min(1.0)
            natural_accuracy = (on_natural > 0).float().mean()
        return {"discriminator": loss.detach(), "accuracy_on_fake": fake_accuracy, "accuracy_on_natural": natural_accuracy}

    def _adversarial(self, harmonized: Tensor, mask: Tensor) -> Tensor:
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        loss = generator_loss(self.discriminator(harmonized), mask, balanced=self.section.balanced_adversarial)
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(True)
        return loss

    def _update(self, loss: Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.harmonizer.parameters(), self.section.grad_clip)
        self.optimizer.step()
        self.average.update_parameters(self.harmonizer)
        return norm.detach()

    @torch.no_grad()
    def validate(self, pairs: PairBatch) -> dict[str, float]:
        """Mean fMSE of the averaged harmonizer and of doing nothing on `pairs`, at the training size; better weights are kept."""
        self.average.eval()
        fmse = [
            _squared_errors(self.average(composite, mask).harmonized, target, mask)
            for composite, mask, target in zip(*(stack.split(64) for stack in (pairs.composite, pairs.mask, pairs.target)), strict=True)
        ]
        self.average.train()
        untouched = _squared_errors(pairs.composite, pairs.target, pairs.mask)
        harmonized = torch.cat(fmse)
        scores = {
            "val_fmse": harmonized.mean().item(),
            "val_composite_fmse": untouched.mean().item(),
            "val_do_no_harm": (harmonized < untouched).float().mean().item(),
        }
        if self.section.keep == "last" or scores["val_fmse"] < self.progress.kept_fmse:
            self.progress.kept_fmse, self.progress.kept_step = scores["val_fmse"], self.progress.step
            self.kept = {name: tensor.detach().clone() for name, tensor in self.average.module.state_dict().items()}
        return scores

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on exactly here."""
        return {
            "harmonizer": self.harmonizer.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "kept": self.kept,
            "progress": vars(self.progress).copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` stands."""
        self.harmonizer.load_state_dict(state["harmonizer"])
        self.average.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.kept = dict(state["kept"])
        self.progress = Progress(**state["progress"])


def harmonizer_config(section: schema.Train) -> HarmonizerConfig:
    """The architecture that params ask for."""
    return HarmonizerConfig(
        architecture=section.architecture, size=section.size, width=section.width, num_knots=section.num_knots, grid=section.grid,
        shading=section.shading, shading_limit=section.shading_limit, plate=False, encode_curves=section.encode_curves,
        read_rim=section.read_rim, encoder_size=section.encoder_size,
    )


def train(params: schema.Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train the harmonizer and save it to `paths.harmonizer`; the validation figures of the weights that were kept.

    Resumes a killed run of the same params and inputs from `paths.work`. Raises ValueError if a stream has no data.
    """
    torch.set_num_threads(params.train.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(params, device)
    validation = _validation_pairs(params, device)
    checkpoint, key = params.paths.work / "train.pt", _key(params)
    history: list[dict[str, float]] = []
    if (saved := load_resumable(checkpoint, key)) is not None:
        trainer.restore(saved)
        history = saved["history"]
    section, sums, began = params.train, _Means(), time.perf_counter()
    pairs, composites = _streams(params, trainer.progress)
    with pairs, composites:
        for step in range(trainer.progress.step, section.steps):
            sums.add(trainer.step(pairs, composites))
            done = step + 1
            if done % section.val_every == 0 or done == section.steps:
                history.append({"step": done, "lr": trainer.learning_rate(step), **sums.take(), **trainer.validate(validation)})
                waited = (pairs.wait_seconds + composites.wait_seconds) / (time.perf_counter() - began)
                report({**history[-1], "data_wait_share": waited}, done)
                if done < section.steps:
                    save_resumable(checkpoint, key, {**trainer.state(), "history": history})
            advance(done, section.steps)
    return _finish(params, trainer, history)


def _finish(params: schema.Params, trainer: Trainer, history: list[dict[str, float]]) -> dict[str, float]:
    trainer.harmonizer.load_state_dict(trainer.kept)
    kept = next(row for row in history if row["step"] == trainer.progress.kept_step)
    about = {"step": trainer.progress.kept_step, "params": params.train.model_dump(), "seed": params.seed, "inputs": _inputs(params)}
    save_harmonizer(params.paths.harmonizer, trainer.harmonizer, trainer.config, about)
    _write_history(params.paths.metrics / "train_history.csv", history)
    (params.paths.work / "train.pt").unlink(missing_ok=True)
    return {
        "val_fmse": round(kept["val_fmse"], 3),
        "val_composite_fmse": round(kept["val_composite_fmse"], 3),
        "val_fmse_ratio": round(kept["val_fmse"] / kept["val_composite_fmse"], 4),
        "val_do_no_harm": round(kept["val_do_no_harm"], 4),
        "kept_step": float(trainer.progress.kept_step),
        "supervised_steps": float(trainer.progress.supervised_steps),
        "adversarial_steps": float(trainer.progress.adversarial_steps),
        "num_parameters": float(sum(parameter.numel() for parameter in trainer.harmonizer.parameters())),
    }


def _streams(params: schema.Params, progress: Progress) -> tuple[BatchIterator[PairBatch], BatchIterator[CompositeBatch]]:
    section = params.train
    pairs = iter_pair_batches(
        params.paths.shards, "train", batch_size=section.batch_size, seed=params.seed, first_step=progress.supervised_steps,
        num_threads=section.threads, cache_megabytes=section.cache_megabytes,
    )
    composites = iter_composite_batches(
        params.paths.mined, "train", batch_size=section.batch_size, seed=params.seed, first_step=progress.adversarial_steps,
        num_threads=1, cache_megabytes=section.cache_megabytes,
    )
    return pairs, composites


def _validation_pairs(params: schema.Params, device: torch.device) -> PairBatch:
    pairs = read_pairs(params.paths.shards, "val", limit=params.train.max_val_pairs)
    if not pairs:
        raise ValueError(f"{params.paths.shards}: no validation pairs; raise ingest.val_share or add photographs")
    fields = ("composite", "mask", "target")
    stacks = (to_tensor(np.stack([getattr(pair, field) for pair in pairs])) for field in fields)
    return PairBatch(*(shrink(stack, params.train.size).to(device) for stack in stacks))


Network = TypeVar("Network", bound=nn.Module)


def _placed(network: Network, device: torch.device) -> Network:
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _to_device(batch: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return batch
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in vars(batch).values()))


def _squared_errors(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    hard = (mask >= 0.5).float()
    error = ((image - target) * 255.0).square() * hard
    return error.sum(dim=(1, 2, 3)) / (3.0 * hard.sum(dim=(1, 2, 3))).clamp_min(1.0)


def _inputs(params: schema.Params) -> dict[str, str]:
    return {str(folder): fingerprint(read_json(folder / "manifest.json")) for folder in (params.paths.shards, params.paths.mined)}


def _key(params: schema.Params) -> str:
    return fingerprint(params.train.model_dump(), params.seed, _inputs(params))


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    names = sorted({name for row in history for name in row} - {"step"})
    lines = [",".join(["step", *names])]
    lines += [",".join([str(int(row["step"])), *(f"{row[name]:.6g}" if name in row else "" for name in names)]) for row in history]
    with written_atomically(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


class _Means:
    """Running means of scalar tensors, read out without a synchronisation per step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        means = {name: (total / self.counts[name]).item() for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means
