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
from models.lut import apply_lut, fuse_luts, identity_lut, lut_monotonicity, lut_smoothness
from models.syconet import SycoNet, SycoNetConfig, draw_code
from tasks.checkpoints import fingerprint, load_resumable, save_resumable
from tasks.images import read_image, read_mask, resize_image, shrink_to, to_tensor
from tasks.index import read_index
from tasks.loader import batch_ids
from tasks.lut_kernel import apply_lut_uint8
from tasks.params import Params, Syconet
from tasks.sample import PairBatch
from tasks.seeds import derive_seed, numpy_generator, torch_generator
from tasks.sheets import Cell, write_sheet
from tasks.sheets import Row as SheetRow
from tasks.syconet_files import save_syconet

Report = Callable[[Mapping[str, float], int], None]
Advance = Callable[[int, int], None]
Row = Mapping[str, Any]
Stacks = dict[str, UInt8[np.ndarray, "..."]]

MAX_VAL_PAIRS = 512
MEASURED_AT_ONCE = 64
NUM_DRAWS = 10  # codes per photograph: as many as the authors' demonstration shows
NUM_SHOWN = 6  # of them, on the sheet
GAMMA_SPREAD, GAIN_SPREAD = 0.4, 0.2  # deviations of the logarithms, in the tables that training starts from
ACTIVE_VARIANCE = 0.01  # of a unit's posterior mean over the data: less is a unit that carries nothing (Burda et al., 2016)
LEAST_SPREAD = 1.0  # CIE76 difference between draws: less than the eye sees, so the code is ignored
SHEET_ROWS, SHEET_SIDE = 6, 160  # of the sheet; px, of a picture
DECAY_FROM = 0.5  # of the steps: from here the learning rate falls to zero

log = logging.getLogger(__name__)


def fit_syconet(params: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train SycoNet on the index's training pairs and save it, with a sheet, to `paths.syconet`; its figures on the validation pairs.

    Resumes a killed run of the same params and inputs from `paths.work`, exactly. Raises ValueError if the index lacks pairs of a split.
    Metrics: `reconstruction_fmse`, `identity_fmse` (the untouched target's), `reconstruction_ratio` (between them), `coverage_ratio` (the
    best of 10 draws' instead of the reconstruction's), `draw_fmse` (how far draws are from the photograph), `active_units`, `kl` (nats),
    `spread` (mean CIE76 between draws inside the mask), `lut_usage_entropy` (of 1 if all tables are used alike), `collapsed`.
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
    generator = torch_generator(seed, "syconet", "draws")
    stacks = (stack.split(MEASURED_AT_ONCE) for stack in (batch.composite, batch.mask, batch.target))
    parts = [_measure_part(model, PairBatch(*part), generator) for part in zip(*stacks, strict=True)]
    of = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    identity = max(of["identity"].mean().item(), 1e-6)
    active = int((of["mean"].var(dim=0, correction=0) > ACTIVE_VARIANCE).sum())
    usage, spread = of["weights"].mean(dim=0), of["spread"].mean().item()
    entropy = -(usage * usage.clamp_min(1e-12).log()).sum().item() / max(math.log(len(usage)), 1e-12)
    return {
        "reconstruction_fmse": round(of["reconstruction"].mean().item(), 3),
        "identity_fmse": round(identity, 3),
        "reconstruction_ratio": round(of["reconstruction"].mean().item() / identity, 4),
        "coverage_ratio": round(of["best"].mean().item() / identity, 4),
        "draw_fmse": round(of["strength"].mean().item(), 3),
        "active_units": float(active),
        "kl": round(kl_per_dimension(of["mean"], of["log_variance"]).sum().item(), 3),
        "spread": round(spread, 3),
        "lut_usage_entropy": round(entropy, 4),
        "collapsed": float(active == 0 or spread < LEAST_SPREAD),
    }


def _measure_part(model: SycoNet, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """Figures per pair. Draws: `strength` is their fMSE to the photograph, `best` the closest one's to the composite."""
    posterior = model.encode(batch.target, batch.mask, batch.composite)
    rebuilt = reconstruct(model, batch, posterior.mean).clamp(0, 1)
    weights, to_composite, to_target, colours = [], [], [], []
    for _ in range(NUM_DRAWS):
        code = torch.randn(posterior.mean.shape, generator=generator).to(batch.target)
        weights.append(model.weigh(batch.target, batch.mask, code))
        recolored = apply_lut(batch.target, fuse_luts(weights[-1], model.basis)).clamp(0, 1)
        drawn = batch.target + batch.mask * (recolored - batch.target)
        to_composite.append(_fmse(drawn, batch.composite, batch.mask))
        to_target.append(_fmse(drawn, batch.target, batch.mask))
        colours.append(rgb2lab(recolored.permute(0, 2, 3, 1).cpu().numpy()))
    inside = batch.mask[:, 0].cpu().numpy() >= 0.5
    differences = sum(
        np.where(inside, np.linalg.norm(first - second, axis=-1), 0.0).sum(axis=(1, 2))
        for place, first in enumerate(colours) for second in colours[place + 1 :]
    )
    num_pairs = NUM_DRAWS * (NUM_DRAWS - 1) / 2
    return {
        "reconstruction": _fmse(rebuilt, batch.composite, batch.mask), "identity": _fmse(batch.target, batch.composite, batch.mask),
        "best": torch.stack(to_composite).amin(dim=0), "strength": torch.stack(to_target).mean(dim=0),
        "spread": torch.as_tensor(differences / num_pairs / np.maximum(1, inside.sum(axis=(1, 2)))),
        "weights": torch.stack(weights, dim=1).mean(dim=1), "mean": posterior.mean, "log_variance": posterior.log_variance,
    }


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


def _fmse(image: Tensor, reference: Tensor, mask: Tensor) -> Float[Tensor, " B"]:
    hard = (mask >= 0.5).float()
    error = ((image - reference) * 255.0).square() * hard
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
    codes = torch.randn(NUM_SHOWN, model.config.latent_dim, generator=torch_generator(params.seed, "syconet", "sheet"))
    write_sheet(
        params.paths.syconet / "sheet.png", [sheet_row(params, model, row, codes) for row in picked],
        columns=["photograph", "true composite", "reconstruction", *(f"draw {number + 1}" for number in range(NUM_SHOWN))],
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
