"""The shipped weights: phases of training one after another, each at its own size and from the weights of the one before.

Each training has a folder of its own below `paths.work`, and so has its checkpoint: a killed run goes on where it was, and a training
that is done for these params, inputs and this code is not done again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from attune.files import read_json, write_json, written_atomically
from attune.unit_keys import unit_key
from tasks.harmonizer_files import load_harmonizer, save_harmonizer
from tasks.params import Params, key_params
from tasks.train import Advance, train, training_inputs
from tasks.training.distributed import training_device
from tasks.training.session import Report
from tasks.training.validation import harmonize_pairs, read_validation_pairs, score

DONE = "done.json"


def train_in_phases(params: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train in `weights.phases`, and copy the last harmonizer to `weights.folder`; its validation figures.

    A phase of several trainings, each with a seed of its own, ends with the mean of their weights, or with the best of them alone where
    that leaves less of the validation pairs' fMSE. Raises ValueError as `tasks.train.train` does, or if a phase looks at more px than the
    shards have.
    """
    largest = max(phase.size for phase in params.weights.phases)
    if largest > params.augment.size:
        raise ValueError(f"weights.phases: {largest} px; the shards hold {params.augment.size} px (augment.size)")
    before, figures = params.weights.start_from, dict[str, float]()
    for number, phase in enumerate(params.weights.phases):
        trained = []
        for training in range(phase.trainings):
            one = phase_params(params, number, before, training=training)
            trained.append((one.paths.harmonizer, _trained(one, report, advance)))
        if phase.trainings > 1:
            trained.append(_averaged(phase_params(params, number, before), [folder for folder, _ in trained]))
        folder, figures = min(trained, key=lambda one: one[1]["val_fmse"])
        before = str(folder)
    for name in ("model.pt", "config.json"):
        with written_atomically(params.weights.folder / name) as temporary:
            temporary.write_bytes((Path(before) / name).read_bytes())
    return dict(figures)


def _trained(phase: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train with the params `phase`, unless that is done; the figures."""
    record, settings = phase.paths.work / DONE, key_params(phase, "seed", "train", but={"train.start_from"})
    key = unit_key(train, settings, training_inputs(phase))
    done = read_json(record) if record.is_file() else {}
    if done.get("key") == key and (phase.paths.harmonizer / "model.pt").is_file():
        return dict(done["figures"])
    record.unlink(missing_ok=True)
    figures = train(phase, report, advance)
    write_json(record, {"key": key, "figures": figures})
    return figures


def _averaged(phase: Params, folders: Sequence[Path]) -> tuple[Path, dict[str, float]]:
    """Save the mean of the weights of the harmonizers in `folders`, which began alike; its folder and its validation figures."""
    harmonizers = [load_harmonizer(folder)[0] for folder in folders]
    weights = [harmonizer.state_dict() for harmonizer in harmonizers]
    average = harmonizers[0]
    average.load_state_dict({name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]})
    pairs = read_validation_pairs(
        phase.paths.shards, average.config.size, limit=phase.train.max_val_pairs, device=training_device(0, 1)
    )
    scores = score(harmonize_pairs(average, pairs), pairs)
    figures = {**scores, "val_fmse_ratio": scores["val_fmse"] / scores["val_composite_fmse"]}
    about = {"mean_of": [read_json(folder / "config.json")["about"] for folder in folders]}
    folder = phase.paths.work.parent / "mean"
    save_harmonizer(folder, average.eval(), average.config, about)
    return folder, figures


def phase_params(params: Params, number: int, before: str, *, training: int = 0) -> Params:
    """`params` of a training of phase `number`, which starts from the harmonizer in the folder `before`, or from nothing ("none")."""
    phase, work = params.weights.phases[number], params.paths.work / "weights" / str(number) / str(training)
    train_section, losses = params.train, params.train.optimizer.losses
    optimizer = train_section.optimizer.model_copy(update={
        "steps": phase.steps, "lr": phase.lr, "ema_decay": phase.ema_decay,
        "losses": losses.model_copy(update={"foreground_rmse": phase.foreground_rmse, "tone_ends": phase.tone_ends}),
    })
    changed = train_section.model_copy(update={
        "patience": 0,  # the end of a cosine is where most is gained
        "start_from": before, "model": train_section.model.model_copy(update={"size": phase.size}), "optimizer": optimizer,
        "data": train_section.data.model_copy(update={
            "natural_share": phase.natural_share, "degraded_share": phase.degraded_share, "batch_size": phase.batch_size,
        }),
    })
    paths: Mapping[str, Path] = {"work": work, "harmonizer": work / "harmonizer", "metrics": work / "metrics"}
    seed = params.seed + 100 * number + training  # batches are drawn by seed and step: no two trainings may see the same ones
    return params.model_copy(update={"seed": seed, "train": changed, "paths": params.paths.model_copy(update=dict(paths))})
