"""Dual-stream training of the harmonizer: supervised steps on pairs, adversarial steps on real composites.

Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. Departures, each for small data and two
cores: the reconstruction loss may be normalised by the foreground (`train.optimizer.losses`), supervised steps may leave the discriminator
out (`train.adversary.discriminate_pairs`), and the weights kept are a running average (EMA).

Every random choice is a function of (seed, step), and so is each batch: a killed run continues where its last checkpoint stands and
ends with the weights of an uninterrupted one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from hashlib import sha256

import torch

from attune.unit_keys import fingerprint, unit_key
from tasks.harmonizer_files import save_harmonizer
from tasks.params import Params, key_params
from tasks.shards import read_manifest
from tasks.training.batch_changes import BatchChanges, load_frozen_syconet
from tasks.training.calibration import calibrated
from tasks.training.distributed import Ranks, training_device
from tasks.training.fresh_composites import read_fresh_composites
from tasks.training.history import write_history
from tasks.training.schedules import plan_steps
from tasks.training.session import Report, Session, Show, not_shown
from tasks.training.starting import pretrained_weights, start_folder, start_weights
from tasks.training.streams import open_streams
from tasks.training.trainer import Trainer

Advance = Callable[[int, int], None]


def train(
    params: Params, report: Report, advance: Advance, *, show: Show = not_shown, ranks: Ranks | None = None
) -> dict[str, float]:
    """Train the harmonizer and save it to `paths.harmonizer`; the validation figures of the weights that were kept.

    report: takes metrics at a step. show: takes the path of each sheet of pictures. ranks: this process among those that train together,
    where there are several; rank 0 alone reports, validates and saves, the others return {}.
    Resumes a killed run of the same params, inputs and code from `paths.work`. Raises ValueError if a stream has no data.
    """
    torch.set_num_threads(params.train.threads)
    ranks = ranks or Ranks(device=training_device(0, 1))
    changes, trainer = _changes(params, ranks), _trainer(params, ranks)
    key = unit_key(train, key_params(params, "seed", "train"), training_inputs(params))
    session = Session(params, key, trainer, report, show)
    plan = plan_steps(params.train.adversary, params.seed, params.train.optimizer.steps)
    first = trainer.progress.step
    with open_streams(params, changes, plan, first_step=first, ranks=ranks) as streams:
        session.watch(streams)
        for step in range(first, len(plan)):
            session.after(trainer.step(streams, adversarial=plan[step]), step)
            advance(step + 1, len(plan))
            if session.is_over:
                break
    return _finish(params, session) if ranks.leads else {}


def _trainer(params: Params, ranks: Ranks) -> Trainer:
    trainer = Trainer(params.train, params.seed, ranks=ranks)
    folder = start_folder(params.train.start_from)
    trainer.begin_with(pretrained_weights(trainer.harmonizer) if folder is None else start_weights(folder, trainer.harmonizer))
    return trainer


def _changes(params: Params, ranks: Ranks) -> BatchChanges:
    section = params.train
    fresh = read_fresh_composites(params.paths.shards, section.data.drawn, params.paths.raw) if section.data.drawn.share else None
    is_dynamic = section.data.augmentation == "dynamic"
    syconet = load_frozen_syconet(params.paths.syconet, ranks.device) if is_dynamic else None
    return BatchChanges(section.data, section.model.size, seed=params.seed, syconet=syconet, fresh=fresh, rank=ranks.rank)


def _finish(params: Params, session: Session) -> dict[str, float]:
    trainer, progress = session.trainer, session.trainer.progress
    trainer.harmonizer.load_state_dict(trainer.kept)
    kept: Mapping[str, float] = next(row for row in session.history if row["step"] == progress.kept_step)
    harmonizer, strength = trainer.harmonizer, 1.0
    if params.train.calibrate_strength:
        harmonizer, strength, kept = calibrated(harmonizer, session.validation)
    about = {
        "step": progress.kept_step, "strength": strength, "seed": params.seed,
        "params": params.train.model_dump(), "inputs": training_inputs(params),
    }
    save_harmonizer(params.paths.harmonizer, harmonizer, harmonizer.config, about)
    write_history(params.paths.metrics / "train_history.csv", session.history)
    session.checkpoint.unlink(missing_ok=True)
    return {
        "val_fmse": round(kept["val_fmse"], 3),
        "val_composite_fmse": round(kept["val_composite_fmse"], 3),
        "val_fmse_ratio": round(kept["val_fmse"] / kept["val_composite_fmse"], 4),
        "val_do_no_harm": round(kept["val_do_no_harm"], 4),
        "kept_step": float(progress.kept_step),
        "strength": strength,
        "supervised_steps": float(progress.supervised_steps),
        "adversarial_steps": float(progress.adversarial_steps),
        "num_parameters": float(sum(parameter.numel() for parameter in harmonizer.parameters())),
    }


def training_inputs(params: Params) -> dict[str, str]:
    """What the data were: a hash of each shard folder that is read, and of SycoNet where its composites are made here."""
    folders = [params.paths.shards, *([params.paths.mined] if params.train.adversary.share > 0 else [])]
    inputs = {str(folder): fingerprint(dataclasses.asdict(read_manifest(folder))) for folder in folders}
    if (start := start_folder(params.train.start_from)) is not None:
        inputs["start_from"] = sha256((start / "model.pt").read_bytes()).hexdigest()[:16]
    if params.train.data.augmentation == "dynamic":
        inputs[str(params.paths.syconet)] = sha256((params.paths.syconet / "model.pt").read_bytes()).hexdigest()[:16]
    return inputs
