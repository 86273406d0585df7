"""The networks, their optimizers and the three phases of a step."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.discriminator import Discriminator, DiscriminatorConfig
from models.harmonizer import Harmonization, ParametricHarmonizer, build_harmonizer
from models.losses import RECONSTRUCTION, discriminator_loss, error_prediction_loss, generator_loss
from tasks.params import Train
from tasks.sample import CompositeBatch, PairBatch
from tasks.seeds import derive_seed
from tasks.training.distributed import ALONE, Ranks
from tasks.training.schedules import learning_rate
from tasks.training.streams import Streams
from tasks.training.validation import harmonize_pairs, score

ERROR_WEIGHT = 0.01  # of the loss of predicted errors: they ride along and hardly steer

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Progress:
    """Where training stands: what a checkpoint holds beside weights and optimizers."""

    step: int = 0
    supervised_steps: int = 0
    adversarial_steps: int = 0
    kept_step: int = 0
    kept_fmse: float = math.inf
    best_fmse: float = math.inf
    validations_since_best: int = 0


class Trainer:
    """The networks, their optimizers and the three phases of a step, as one of `ranks`. `tasks.train` drives it."""

    def __init__(self, section: Train, seed: int, *, ranks: Ranks = ALONE) -> None:
        optimizer, adversary, device = section.optimizer, section.adversary, ranks.device
        self.section, self.ranks = section, ranks
        self.config = section.model.config()
        torch.manual_seed(derive_seed(seed, "train", "weights"))
        self.harmonizer = _placed(build_harmonizer(self.config), device)
        self.discriminator = _placed(Discriminator(DiscriminatorConfig(section.model.size, adversary.width)), device)
        self.average = AveragedModel(self.harmonizer, multi_avg_fn=get_ema_multi_avg_fn(optimizer.ema_decay), use_buffers=True)
        self.optimizer = torch.optim.AdamW(self.harmonizer.learned(), lr=optimizer.lr, weight_decay=optimizer.weight_decay)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=adversary.lr, betas=(0.5, 0.999))
        self.kept: dict[str, Tensor] = {}
        self.progress = Progress()

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Start from `weights`: of the tensors that have a name among them. Before the first step, and before `restore`."""
        for network in (self.harmonizer, self.average.module):
            network.load_state_dict({**network.state_dict(), **weights})

    def step(self, streams: Streams, *, adversarial: bool) -> dict[str, Tensor]:
        """One step of the stream that is due; its losses."""
        progress = self.progress
        if adversarial:
            losses = self.adversarial_step(next(streams.composites))
            progress.adversarial_steps += 1
        else:
            losses = self.supervised_step(next(streams.pairs))
            progress.supervised_steps += 1
        progress.step += 1
        return losses

    def supervised_step(self, batch: PairBatch) -> dict[str, Tensor]:
        """One harmonizer update towards the target of each pair; the losses."""
        with self._autocast():
            batch, result = self._harmonized(batch)
        harmonized = result.harmonized
        weighted = {name: weight for name, weight in self.section.optimizer.losses if weight}
        reconstruction = sum_of(weight * RECONSTRUCTION[name](harmonized, batch.target, batch.mask) for name, weight in weighted.items())
        losses = {"reconstruction": reconstruction}
        if result.log_errors is not None:
            losses["error_prediction"] = error_prediction_loss(
                result.log_errors, batch.composite, harmonized, batch.target, batch.mask
            )
            reconstruction = reconstruction + ERROR_WEIGHT * losses["error_prediction"]
        loss = self.section.adversary.reconstruction_weight * reconstruction
        if self.section.adversary.discriminate_pairs:
            losses["adversarial"] = self._adversarial(harmonized, batch.mask)
            loss = loss + (1 - self.section.adversary.reconstruction_weight) * losses["adversarial"]
        losses["grad_norm"] = self._update(loss)
        if self.section.adversary.discriminate_pairs:
            losses |= self.discriminator_step(harmonized.detach(), batch.mask, batch.target)
        return losses

    def _harmonized(self, batch: PairBatch) -> tuple[PairBatch, Harmonization]:
        """What the harmonizer makes of a batch, rendered at each row and column or at every second; the batch at those."""
        every = self.section.optimizer.render_every
        if every == 1 or not isinstance(self.harmonizer, ParametricHarmonizer):
            return batch, self.harmonizer(batch.composite, batch.mask)
        edit = self.harmonizer.predict(batch.composite, batch.mask)
        seen = PairBatch(*(stack[:, :, ::every, ::every].contiguous() for stack in vars(batch).values()))
        return seen, self.harmonizer.render(edit, seen.composite, seen.mask)

    def adversarial_step(self, batch: CompositeBatch) -> dict[str, Tensor]:
        """One harmonizer update that makes real composites pass for natural photographs, then one discriminator update; the losses."""
        plate = batch.plate if self.config.plate else None
        with self._autocast():
            harmonized = self.harmonizer(batch.composite, batch.mask, plate).harmonized
        adversarial = self._adversarial(harmonized, batch.mask)
        grad_norm = self._update((1 - self.section.adversary.reconstruction_weight) * adversarial)
        return {
            "adversarial": adversarial,
            "adversarial_grad_norm": grad_norm,
            **self.discriminator_step(harmonized.detach(), batch.mask, batch.natural),
        }

    def discriminator_step(self, harmonized: Tensor, mask: Tensor, natural: Tensor) -> dict[str, Tensor]:
        """One discriminator update (natural: 1 all over; harmonized: 1 outside its mask, 0 inside); its loss and accuracies."""
        with self._autocast():
            on_fake, on_natural = self.discriminator(harmonized).float(), self.discriminator(natural).float()
        loss = discriminator_loss(on_fake, on_natural, mask, balanced=self.section.adversary.balanced)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average(self.discriminator)
        self.discriminator_optimizer.step()
        with torch.no_grad():
            fake_accuracy = ((on_fake < 0) * mask).sum() / mask.sum().clamp_min(1.0)
            natural_accuracy = (on_natural > 0).float().mean()
        return {"discriminator": loss.detach(), "accuracy_on_fake": fake_accuracy, "accuracy_on_natural": natural_accuracy}

    def _adversarial(self, harmonized: Tensor, mask: Tensor) -> Tensor:
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        with self._autocast():
            logits = self.discriminator(harmonized).float()
        loss = generator_loss(logits, mask, balanced=self.section.adversary.balanced)
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(True)
        return loss

    def _autocast(self) -> torch.autocast:
        """The networks compute in `train.optimizer.precision`; losses, curves and the weights themselves stay float32."""
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.section.optimizer.precision == "bfloat16")

    def _update(self, loss: Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.section.optimizer, self.progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average(self.harmonizer)
        norm = nn.utils.clip_grad_norm_(self.harmonizer.learned(), self.section.optimizer.grad_clip)
        self.optimizer.step()
        self.average.update_parameters(self.harmonizer)
        return norm.detach()

    def validate(self, pairs: PairBatch) -> dict[str, float]:
        """How the averaged harmonizer does on `pairs`, at the training size; better weights are kept."""
        scores = score(harmonize_pairs(self.average, pairs), pairs)
        if self.section.keep == "last" or scores["val_fmse"] < self.progress.kept_fmse:
            self.progress.kept_fmse, self.progress.kept_step = scores["val_fmse"], self.progress.step
            self.kept = {name: tensor.detach().clone() for name, tensor in self.average.module.state_dict().items()}
        self.progress.validations_since_best += 1
        if scores["val_fmse"] < self.progress.best_fmse:
            self.progress.best_fmse, self.progress.validations_since_best = scores["val_fmse"], 0
        return scores

    @property
    def is_stale(self) -> bool:
        """Whether the last `train.patience` validations were no better than one before them; never with a patience of 0."""
        return 0 < self.section.patience <= self.progress.validations_since_best

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


def sum_of(losses: Iterable[Tensor]) -> Tensor:
    """Their sum; there is at least one."""
    first, *rest = losses
    for loss in rest:
        first = first + loss
    return first


def _placed(network: Network, device: torch.device) -> Network:
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
