"""From pairs to a saved SycoNet with its figures, its sheet and its finding: what fitting and fine-tuning share."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attune.unit_keys import unit_key
from models.syconet import SycoNet
from tasks.augmentation.domains import UNION, Row, checkpoint_folder
from tasks.augmentation.latent import has_collapsed, measure_latent
from tasks.augmentation.pairs import Stacks, choose_rows, read_pairs, row_hashes, to_batch
from tasks.augmentation.quality import Quality, measure_quality
from tasks.augmentation.quality_report import MAX_PAIRS, measure_samplers, quality_metrics
from tasks.augmentation.samplers import syconet_sampler
from tasks.augmentation.syconet_sheet import write_syconet_sheet
from tasks.augmentation.syconet_training import Advance, Report, SycoNetTrainer, run_training
from tasks.params import Params, key_params
from tasks.syconet_files import save_syconet

MAX_VAL_PAIRS = 512

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """The validation pairs that a SycoNet is measured on."""

    rows: Sequence[Row]
    stacks: Stacks

    def part(self, most: int) -> Stacks:
        """At most `most` of the pairs, spread evenly."""
        count = len(self.rows)
        chosen = np.arange(min(most, count)) * count // min(most, count)
        return {field: stack[chosen] for field, stack in self.stacks.items()}


@dataclass(frozen=True)
class Measured:
    """What a trained SycoNet is worth on held-out pairs."""

    metrics: Mapping[str, float]
    quality: Mapping[str, Quality]


def read_held_out(params: Params, domain: str) -> HeldOut:
    """The validation pairs of `domain`. Raises ValueError as `choose_rows`."""
    rows = choose_rows(params, "val", MAX_VAL_PAIRS, domain)
    return HeldOut(rows, read_pairs(params, rows))


def train(
    params: Params, trainer: SycoNetTrainer, *, domain: str, came_from: str, checkpoint: Path, report: Report, advance: Advance
) -> SycoNet:
    """The network of `trainer`, trained on the pairs of `domain`, on the CPU in evaluation mode.

    came_from: a hash of the weights that training starts from. A killed run of the same key goes on from `checkpoint`, exactly.
    """
    most = trainer.num_steps * trainer.section.batch_size
    rows = choose_rows(params, "train", most, domain) if most else []  # a network that nobody asks for needs no pairs
    key = unit_key(train, _settings(params, domain), trainer.device.type, domain, came_from, row_hashes(rows))
    run_training(trainer, read_pairs(params, rows), params.speed, checkpoint=checkpoint, key=key, report=report, advance=advance)
    return trainer.model.cpu().eval()


def measure(params: Params, model: SycoNet, held_out: HeldOut) -> Measured:
    """Reconstruction, latent code, tables, and the quality of draws. A collapsed code is said in the log: its draws are all alike."""
    batch = to_batch(held_out.stacks, np.arange(len(held_out.rows)), torch.device("cpu"))
    latent = measure_latent(model, batch, seed=params.seed)
    quality = measure_samplers(model, held_out.part(MAX_PAIRS), params.ingest.synthesis, seed=params.seed)
    diversity = quality["syconet"].diversity
    collapsed = has_collapsed(latent["active_units"], diversity)
    if collapsed:
        log.warning(
            "SycoNet's latent code has collapsed: %d active units, draws differ by %.2f dE2000; lower syconet.kl_weight or train longer",
            latent["active_units"], diversity,
        )
    return Measured({**latent, "collapsed": float(collapsed), **quality_metrics(quality)}, quality)


def measure_alone(params: Params, model: SycoNet, held_out: HeldOut) -> dict[str, float]:
    """The figures that another SycoNet is held against: reconstruction, and coverage and diversity of its own draws."""
    batch = to_batch(held_out.stacks, np.arange(len(held_out.rows)), torch.device("cpu"))
    quality = measure_quality(syconet_sampler(model, params.seed), held_out.part(MAX_PAIRS), params.ingest.synthesis)
    figures = {**measure_latent(model, batch, seed=params.seed), **quality_metrics({"syconet": quality})}
    return {name: figures[name] for name in ("reconstruction_fmse", "reconstruction_ratio", "coverage_10_syconet", "diversity_syconet")}


def save(params: Params, domain: str, model: SycoNet, held_out: HeldOut, metrics: Mapping[str, float]) -> None:
    """Save model and sheet to the domain's folder."""
    folder = checkpoint_folder(params, domain)
    about = {"params": _params_of(params, domain), "seed": params.seed, "validation": dict(metrics)}
    save_syconet(folder, model, model.config, about)
    title = f"SycoNet{f', fine-tuned on {domain},' if domain else ''} on validation photographs"
    write_syconet_sheet(folder / "sheet.png", params, model, held_out.rows, title=title)


def _params_of(params: Params, domain: str) -> dict[str, Any]:
    """The section as a training took it: fine-tuning has steps of its own, and no warm-up."""
    if domain == UNION:
        return params.syconet.model_dump()
    return params.syconet.model_dump(exclude={"kl_warmup"}) | {"steps": params.finetune_syconet.steps}


def _settings(params: Params, domain: str) -> dict[str, Any]:
    if domain == UNION:
        return key_params(params, "seed", "syconet")
    return key_params(params, "seed", "syconet", "finetune_syconet.steps", but={"syconet.steps", "syconet.kl_warmup"})
