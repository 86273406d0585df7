"""SycoNet's training, both branches: a conditional VAE over 3D tables learns how composites differ from their targets.

The reconstruction branch sees target, mask and composite and names a code; the generation branch turns target, mask and code into a table;
the recoloured target must be the composite. Codes are kept near N(0, 1), so that in the end any draw from it gives a plausible composite.

Source: Niu et al., "Deep Image Harmonization with Learnable Augmentation", ICCV 2023. Its training was not published: the weights of the
losses are the project's, the schedule (constant, then linear to zero) is BicycleGAN's, the tables' regularizers Zeng et al.'s.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.losses import foreground_l1, kl_divergence
from models.lut import apply_lut, identity_lut, lut_monotonicity, lut_smoothness
from models.syconet import SycoNet, SycoNetConfig, draw_code
from tasks.augmentation.pairs import Stacks, to_batch
from tasks.checkpoints import load_resumable, save_resumable
from tasks.loader import batch_ids
from tasks.params import Speed, Syconet
from tasks.sample import PairBatch
from tasks.seeds import derive_seed, torch_generator

Report = Callable[[Mapping[str, float], int], None]
Advance = Callable[[int, int], None]

GAMMA_SPREAD, GAIN_SPREAD = 0.4, 0.2  # deviations of the logarithms, in the tables that training starts from
DECAY_FROM = 0.5  # of the steps: from here the learning rate falls to zero


class SycoNetTrainer:
    """The network, its optimizer and one step of training."""

    def __init__(self, section: Syconet, seed: int, device: torch.device) -> None:
        self.section, self.seed, self.device = section, seed, device
        self.num_steps, self.step = section.steps, 0
        self.kl_warmup = section.kl_warmup * section.steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "syconet", "weights"))
            self.model = SycoNet(syconet_config(section))
        with torch.no_grad():
            tables = starting_tables(section.num_luts, section.lut_dim, torch_generator(seed, "syconet", "tables"))
            self.model.basis.copy_(tables)
        self.model.to(device).train()
        for encoder in (self.model.generator, self.model.posterior):
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a sixth faster on a CPU
        encoders = [*self.model.generator.parameters(), *self.model.posterior.parameters()]
        self.rates = (section.lr, section.basis_lr)
        self.optimizer = torch.optim.Adam([{"params": encoders}, {"params": [self.model.basis]}], lr=section.lr, betas=(0.5, 0.999))

    def continue_from(self, weights: Mapping[str, Tensor], num_steps: int) -> None:
        """Fine-tune for `num_steps` what another training left: its codes are in use, so the KL term has its whole weight at once."""
        self.model.load_state_dict(weights)
        self.num_steps, self.kl_warmup = num_steps, 0.0

    def decay(self) -> float:
        """Of the learning rates: 1, then linear towards zero over the second half."""
        return min(1.0, (1.0 - self.step / self.num_steps) / (1.0 - DECAY_FROM))

    def kl_weight(self) -> float:
        """From zero to `kl_weight` over the first `kl_warmup` of the steps: reconstruction first, or the code is never used."""
        return self.section.kl_weight * min(1.0, (self.step + 1) / max(1.0, self.kl_warmup))

    def update(self, batch: PairBatch) -> dict[str, Tensor]:
        """One step on `batch`; its losses."""
        section = self.section
        posterior = self.model.encode(batch.target, batch.mask, batch.composite)
        code = draw_code(posterior, torch_generator(self.seed, "syconet", "code", self.step))
        reconstruction = foreground_l1(reconstruct(self.model, batch, code), batch.composite, batch.mask)
        kl = kl_divergence(posterior.mean, posterior.log_variance)
        smoothness, monotonicity = lut_smoothness(self.model.basis), lut_monotonicity(self.model.basis)
        loss = reconstruction + self.kl_weight() * kl + section.smooth_weight * smoothness + section.mono_weight * monotonicity
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.decay()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        losses = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "smoothness": smoothness, "monotonicity": monotonicity}
        return {name: value.detach() for name, value in losses.items()}

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on exactly here."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` stands."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])


def run_training(
    trainer: SycoNetTrainer, stacks: Stacks, speed: Speed, *, checkpoint: Path, key: str, report: Report, advance: Advance
) -> None:
    """Train on the pairs of `stacks` to the trainer's last step. A killed run of the same `key` goes on from `checkpoint`, exactly."""
    section, num_steps = trainer.section, trainer.num_steps
    if (saved := load_resumable(checkpoint, key)) is not None:
        trainer.restore(saved)
    order = derive_seed(trainer.seed, "syconet", "order")
    for step in range(trainer.step, num_steps):
        ids = batch_ids(len(stacks["mask"]), step, batch_size=section.batch_size, seed=order)
        losses = trainer.update(to_batch(stacks, ids, trainer.device))
        if (step + 1) % speed.report_every == 0 or step + 1 == num_steps:
            report({name: loss.item() for name, loss in losses.items()}, step + 1)
        if (step + 1) % speed.checkpoint_every == 0 and step + 1 < num_steps:
            save_resumable(checkpoint, key, trainer.state())
        advance(step + 1, num_steps)


def syconet_config(section: Syconet) -> SycoNetConfig:
    """The architecture that params ask for."""
    return SycoNetConfig(
        size=section.size, latent_dim=section.latent_dim, num_luts=section.num_luts, lut_dim=section.lut_dim, width=section.width,
    )


def reconstruct(model: SycoNet, batch: PairBatch, code: Float[Tensor, "B Z"]) -> Float[Tensor, "B 3 h w"]:
    """The target recoloured by the table of `code`, mixed in by the mask's level; where the mask is 0, the composite itself.

    Not clamped: the gradient must reach a table that leaves [0, 1].
    """
    recolored = apply_lut(batch.target, model.generate(batch.target, batch.mask, code))
    mixed = batch.target + batch.mask * (recolored - batch.target)
    # The backgrounds of target and composite differ by their JPEGs; no table can learn that.
    return torch.where(batch.mask > 0, mixed, batch.composite)


def starting_tables(count: int, dim: int, generator: torch.Generator) -> Float[Tensor, "L 3 D D D"]:
    """The tables that training starts from: a random gamma and gain per table, and per channel of each.

    Equal tables would get equal gradients for ever, and noise around the identity spans few of the changes that composites need: from
    tables of other lights and tones the same training rebuilds composites a sixth better.
    """
    draws = torch.randn(count, 6, generator=generator)
    draws = draws - draws.mean(dim=0)
    if count > 6:  # enough to make the six directions equally strong, whatever was drawn
        draws = count**0.5 * torch.linalg.svd(draws, full_matrices=False).U
    gamma, gain = (
        torch.exp(spread * (channels + channels.sum(dim=1, keepdim=True) / 3))[..., None, None, None]
        for spread, channels in ((GAMMA_SPREAD, draws[:, :3]), (GAIN_SPREAD, draws[:, 3:]))
    )
    return (gain * identity_lut(dim) ** gamma).clamp(0, 1)
