"""Dual-stream training of the harmonizer: supervised steps on pairs, adversarial steps on real composites.

Source: Wang et al., "Semi-supervised Parametric Real-world Image Harmonization", CVPR 2023. Departures, each for small data and two
cores: the reconstruction loss may be normalised by the foreground (`train.loss`), supervised steps may leave the discriminator out
(`train.discriminate_pairs`), and the weights kept are a running average (EMA).

Every random choice is a function of (seed, step), and so is each batch: a killed run continues where its last checkpoint stands and
ends with the weights of an uninterrupted one.
"""

import time
from collections.abc import Callable, Mapping
from hashlib import sha256

import torch

from tasks import params as schema
from tasks.checkpoints import fingerprint, load_resumable, save_resumable
from tasks.files import read_json
from tasks.harmonizer_files import save_harmonizer
from tasks.training.history import Means, write_history
from tasks.training.schedules import learning_rate
from tasks.training.streams import composite_stream, pair_stream
from tasks.training.trainer import Trainer
from tasks.training.validation import read_validation_pairs

Report = Callable[[Mapping[str, float], int], None]
Advance = Callable[[int, int], None]


def train(params: schema.Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train the harmonizer and save it to `paths.harmonizer`; the validation figures of the weights that were kept.

    Resumes a killed run of the same params and inputs from `paths.work`. Raises ValueError if a stream has no data.
    """
    torch.set_num_threads(params.train.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(params, device)
    validation = read_validation_pairs(params, device)
    checkpoint, key = params.paths.work / "train.pt", fingerprint(params.train.model_dump(), params.seed, _inputs(params))
    history: list[dict[str, float]] = []
    if (saved := load_resumable(checkpoint, key)) is not None:
        trainer.restore(saved)
        history = saved["history"]
    section, means, began = params.train, Means(), time.perf_counter()
    pairs = pair_stream(params, first_step=trainer.progress.supervised_steps)
    composites = composite_stream(params, first_step=trainer.progress.adversarial_steps)
    with pairs, composites:
        for step in range(trainer.progress.step, section.steps):
            means.add(trainer.step(pairs, composites))
            done = step + 1
            if done % section.val_every == 0 or done == section.steps:
                history.append({"step": done, "lr": learning_rate(section, step), **means.take(), **trainer.validate(validation)})
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
    write_history(params.paths.metrics / "train_history.csv", history)
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


def _inputs(params: schema.Params) -> dict[str, str]:
    """What the data were: a hash of each shard folder that is read, and of SycoNet where its composites are made here."""
    folders = [params.paths.shards, *([params.paths.mined] if params.train.adversarial_share > 0 else [])]
    inputs = {str(folder): fingerprint(read_json(folder / "manifest.json")) for folder in folders}
    if params.train.augmentation == "dynamic":
        inputs[str(params.paths.syconet)] = sha256((params.paths.syconet / "model.pt").read_bytes()).hexdigest()[:16]
    return inputs
