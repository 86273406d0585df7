"""SycoNet's training, both branches: a conditional VAE over 3D tables learns how composites differ from their targets.

The reconstruction branch sees target, mask and composite and names a code; the generation branch turns target, mask and code into a table;
the recoloured target must be the composite. Codes are kept near N(0, 1), so that in the end any draw from it gives a plausible composite.

Source: Niu et al., "Deep Image Harmonization with Learnable Augmentation", ICCV 2023. Its training was not published: the weights of the
losses are the project's, the schedule (constant, then linear to zero) is BicycleGAN's, the tables' regularizers Zeng et al.'s.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from skimage.color import rgb2lab
from torch import Tensor

from models.losses import foreground_l1, kl_divergence, kl_per_dimension
from models.lut import apply_lut, lut_monotonicity, lut_smoothness
from models.syconet import SycoNet, SycoNetConfig, draw_code
from tasks.checkpoints import fingerprint, load_resumable, save_resumable, save_syconet
from tasks.images import read_image, read_mask, resize_image, shrink_to, to_tensor
from tasks.index import read_index
from tasks.loader import batch_ids
from tasks.lut_kernel import apply_lut_uint8
from tasks.params import Params, Syconet
from tasks.sample import PairBatch
from tasks.seeds import derive_seed, numpy_generator, torch_generator
from tasks.sheets import Cell, write_sheet
from tasks.sheets import Row as SheetRow

Report = Callable[[Mapping[str, float], int], None]
Advance = Callable[[int, int], None]
Row = Mapping[str, Any]
Stacks = dict[str, UInt8[np.ndarray, "..."]]

MAX_VAL_PAIRS = 512
NUM_DRAWS = 6  # codes per photograph, for the spread and on the sheet
ACTIVE_VARIANCE = 0.01  # of a unit's posterior mean over the data: less is a unit that carries nothing (Burda et al., 2016)
LEAST_SPREAD = 1.0  # CIE76 difference between draws: less than the eye sees, so the code is ignored
SHEET_ROWS, SHEET_SIDE = 6, 160  # of the sheet; px, of a picture
DECAY_FROM = 0.5  # of the steps: from here the learning rate falls to zero

log = logging.getLogger(__name__)


def fit_syconet(params: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train SycoNet on the index's training pairs and save it, with a sheet, to `paths.syconet`; its figures on the validation pairs.

    Resumes a killed run of the same params and inputs from `paths.work`, exactly. Raises ValueError if the index lacks pairs of a split.
    Metrics: `reconstruction_fmse`, `identity_fmse` (the untouched target's), `reconstruction_ratio` (between them), `active_units`, `kl`
    (nats), `spread` (mean CIE76 between draws inside the mask), `lut_usage_entropy` (of 1 if all tables are used alike), `collapsed`.
    """
    section = params.syconet
    torch.set_num_threads(section.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_rows = _chosen_rows(params, "train", section.steps * section.batch_size)
    val_rows = _chosen_rows(params, "val", MAX_VAL_PAIRS)
    key = fingerprint(section.model_dump(), params.seed, device.type, *(_hashes(rows) for rows in (train_rows, val_rows)))
    trainer = SycoNetTrainer(section, params.seed, device)
    checkpoint = params.paths.work / "fit_syconet.pt"
    if (saved := load_resumable(checkpoint, key)) is not None:
        trainer.restore(saved)
    stacks = _read_pairs(params, train_rows)
    for step in range(trainer.step, section.steps):
        ids = batch_ids(len(train_rows), step, batch_size=section.batch_size, seed=derive_seed(params.seed, "syconet", "order"))
        losses = trainer.update(_to_batch(stacks, ids, device))
        if (step + 1) % section.report_every == 0 or step + 1 == section.steps:
            report({name: loss.item() for name, loss in losses.items()}, step + 1)
        if (step + 1) % section.checkpoint_every == 0 and step + 1 < section.steps:
            save_resumable(checkpoint, key, trainer.state())
        advance(step + 1, section.steps)
    validation = _read_pairs(params, val_rows)
    metrics = measure(trainer.model.eval(), _to_batch(validation, np.arange(len(val_rows)), device), seed=params.seed)
    if metrics["collapsed"]:
        log.warning(
            "SycoNet's latent code has collapsed: %d active units, spread %.2f; lower syconet.kl_weight or train longer",
            metrics["active_units"], metrics["spread"],
        )
    report(metrics, section.steps)
    _save(params, trainer.model.cpu(), val_rows, metrics)
    checkpoint.unlink(missing_ok=True)
    return metrics


class SycoNetTrainer:
    """The network, its optimizer and one step of training."""

    def __init__(self, section: Syconet, seed: int, device: torch.device) -> None:
        self.section, self.seed, self.device = section, seed, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "syconet", "weights"))
            self.model = SycoNet(syconet_config(section)).to(device).train()
        for encoder in (self.model.generator, self.model.posterior):
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a sixth faster on a CPU
        encoders = [*self.model.generator.parameters(), *self.model.posterior.parameters()]
        self.rates = (section.lr, section.basis_lr)
        self.optimizer = torch.optim.Adam([{"params": encoders}, {"params": [self.model.basis]}], lr=section.lr, betas=(0.5, 0.999))
        self.step = 0

    def decay(self) -> float:
        """Of the learning rates: 1, then linear towards zero over the second half."""
        return min(1.0, (1.0 - self.step / self.section.steps) / (1.0 - DECAY_FROM))

    def kl_weight(self) -> float:
        """From zero to `kl_weight` over the first `kl_warmup` of the steps: reconstruction first, or the code is never used."""
        warmup = self.section.kl_warmup * self.section.steps
        return self.section.kl_weight * min(1.0, (self.step + 1) / max(1.0, warmup))

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


@torch.inference_mode()
def measure(model: SycoNet, batch: PairBatch, *, seed: int) -> dict[str, float]:
    """The metrics of `fit_syconet` for `batch`, a whole validation set, coded by the posterior's mean; `model` in evaluation mode."""
    posterior = model.encode(batch.target, batch.mask, batch.composite)
    rebuilt = reconstruct(model, batch, posterior.mean).clamp(0, 1)
    reconstruction, identity = (_fmse(image, batch).mean().item() for image in (rebuilt, batch.target))
    active = int((posterior.mean.var(dim=0, correction=0) > ACTIVE_VARIANCE).sum())
    weights, spread = _draw_statistics(model, batch, seed)
    usage = weights.mean(dim=0)
    entropy = -(usage * usage.clamp_min(1e-12).log()).sum().item() / max(math.log(len(usage)), 1e-12)
    return {
        "reconstruction_fmse": round(reconstruction, 3),
        "identity_fmse": round(identity, 3),
        "reconstruction_ratio": round(reconstruction / max(identity, 1e-6), 4),
        "active_units": float(active),
        "kl": round(kl_per_dimension(posterior.mean, posterior.log_variance).sum().item(), 3),
        "spread": round(spread, 3),
        "lut_usage_entropy": round(entropy, 4),
        "collapsed": float(active == 0 or spread < LEAST_SPREAD),
    }


def _draw_statistics(model: SycoNet, batch: PairBatch, seed: int) -> tuple[Tensor, float]:
    """The weights of the tables over photographs and codes, and the mean CIE76 difference between two draws inside the mask."""
    count = min(64, len(batch.mask))
    chosen = [index * len(batch.mask) // count for index in range(count)]
    target, mask = batch.target[chosen], batch.mask[chosen]
    generator = torch_generator(seed, "syconet", "draws")
    weights, draws = [], []
    for _ in range(NUM_DRAWS):
        code = torch.randn(count, model.config.latent_dim, generator=generator).to(target.device)
        weights.append(model.weigh(target, mask, code))
        recolored = apply_lut(target, model.generate(target, mask, code)).clamp(0, 1)
        draws.append(rgb2lab(recolored.permute(0, 2, 3, 1).cpu().numpy()))
    inside = mask[:, 0].cpu().numpy() >= 0.5
    differences = [
        np.linalg.norm(first - second, axis=-1)[inside].mean() for place, first in enumerate(draws) for second in draws[place + 1 :]
    ]
    return torch.cat(weights), float(np.mean(differences)) if inside.any() else 0.0


def _fmse(image: Tensor, batch: PairBatch) -> Float[Tensor, " B"]:
    hard = (batch.mask >= 0.5).float()
    error = ((image - batch.composite) * 255.0).square() * hard
    return error.sum(dim=(1, 2, 3)) / (3.0 * hard.sum(dim=(1, 2, 3))).clamp_min(1.0)


# Data

def _chosen_rows(params: Params, split: str, most: int) -> list[Row]:
    """The pairs of `split`; where there are more than `most`, so many drawn at random. Sorted by key."""
    rows = read_index(params.paths.index, "pairs", split=split)
    if not rows:
        raise ValueError(f"{params.paths.index}/pairs.parquet: no pairs of split {split!r}")
    if len(rows) <= most:
        return list(rows)
    chosen = numpy_generator(params.seed, "syconet", split).choice(len(rows), most, replace=False)
    return [rows[index] for index in sorted(chosen)]


def _hashes(rows: Sequence[Row]) -> list[list[str]]:
    return [[row["key"], row["composite_sha256"], row["mask_sha256"], row["target_sha256"]] for row in rows]


def _read_pairs(params: Params, rows: Sequence[Row]) -> Stacks:
    """Composites, masks and targets as uint8 stacks at `syconet.size`; a target that several pairs share is read once."""
    size, megapixels = params.syconet.size, params.ingest.max_megapixels
    stacks: Stacks = {
        "composite": np.empty((len(rows), size, size, 3), np.uint8),
        "mask": np.empty((len(rows), size, size), np.uint8),
        "target": np.empty((len(rows), size, size, 3), np.uint8),
    }
    slots: dict[tuple[str, str], list[int]] = {}
    for slot, row in enumerate(rows):
        for field in stacks:
            slots.setdefault((field, row[f"{field}_path"]), []).append(slot)

    def read(item: tuple[tuple[str, str], list[int]]) -> None:
        (field, path), places = item
        image = (read_mask if field == "mask" else read_image)(Path(path), max_megapixels=megapixels)
        stacks[field][places] = resize_image(image, size, size)

    with ThreadPoolExecutor(params.syconet.threads) as pool:
        for _ in pool.map(read, slots.items()):
            pass
    return stacks


def _to_batch(stacks: Stacks, ids: Int[np.ndarray, " B"], device: torch.device) -> PairBatch:
    return PairBatch(**{field: to_tensor(stack[ids]).to(device) for field, stack in stacks.items()})


# Results

def _save(params: Params, model: SycoNet, val_rows: Sequence[Row], metrics: Mapping[str, float]) -> None:
    about = {"params": params.syconet.model_dump(), "seed": params.seed, "validation": dict(metrics)}
    save_syconet(params.paths.syconet, model, model.config, about)
    picked = [val_rows[index * len(val_rows) // min(SHEET_ROWS, len(val_rows))] for index in range(min(SHEET_ROWS, len(val_rows)))]
    codes = torch.randn(NUM_DRAWS, model.config.latent_dim, generator=torch_generator(params.seed, "syconet", "sheet"))
    write_sheet(
        params.paths.syconet / "sheet.png", [sheet_row(params, model, row, codes) for row in picked],
        columns=["photograph", "true composite", "reconstruction", *(f"draw {number + 1}" for number in range(NUM_DRAWS))],
        title="SycoNet on validation photographs", note="captions: fMSE to the photograph, in squared grey levels", side=SHEET_SIDE,
    )


@torch.inference_mode()
def sheet_row(params: Params, model: SycoNet, row: Row, codes: Float[Tensor, "K Z"]) -> SheetRow:
    """Photograph, true composite, reconstruction, and one draw per code. `model`: on the CPU, in evaluation mode."""
    batch = _to_batch(_read_pairs(params, [row]), np.arange(1), torch.device("cpu"))
    megapixels = params.ingest.max_megapixels
    composite, target = (
        shrink_to(read_image(Path(row[f"{field}_path"]), max_megapixels=megapixels), SHEET_SIDE) for field in ("composite", "target")
    )
    mask = shrink_to(read_mask(Path(row["mask_path"]), max_megapixels=megapixels), SHEET_SIDE)
    codes = torch.cat([model.encode(batch.target, batch.mask, batch.composite).mean, codes])
    luts = model.generate(batch.target.expand(len(codes), -1, -1, -1), batch.mask.expand(len(codes), -1, -1, -1), codes).numpy()
    inside = mask >= 128
    cells = [Cell(target)]
    for image in (composite, *(apply_lut_uint8(target, lut, mask) for lut in luts)):
        fmse = np.square(image[inside].astype(float) - target[inside]).mean() if inside.any() else 0.0
        cells.append(Cell(image, f"{fmse:.0f}"))
    return SheetRow(tuple(cells))
