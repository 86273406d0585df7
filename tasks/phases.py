"""The shipped weights: several trainings one after another, each at its own size and from the weights of the one before.

Each has a folder of its own below `paths.work`, and so has its checkpoint: a killed run goes on where it was, and a training that is done
for these params, inputs and this code is not done again.
"""

from collections.abc import Mapping
from pathlib import Path

from attune.files import read_json, write_json, written_atomically
from attune.unit_keys import unit_key
from tasks.params import Params, key_params
from tasks.train import Advance, train, training_inputs
from tasks.training.session import Report
from tasks.training.starting import NONE

DONE = "done.json"


def train_in_phases(params: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train in `weights.phases`, and copy the last harmonizer to `weights.folder`; the last training's validation figures.

    Raises ValueError as `tasks.train.train` does.
    """
    before, figures = NONE, {}
    for number in range(len(params.weights.phases)):
        phase = phase_params(params, number, before)
        settings = key_params(phase, "seed", "train", but={"train.start_from"})
        record, key = phase.paths.work / DONE, unit_key(train, settings, training_inputs(phase))
        done = read_json(record) if record.is_file() else {}
        if done.get("key") != key or not (phase.paths.harmonizer / "model.pt").is_file():
            record.unlink(missing_ok=True)
            figures = train(phase, report, advance)
            write_json(record, {"key": key, "figures": figures})
        else:
            figures = done["figures"]
        before = str(phase.paths.harmonizer)
    for name in ("model.pt", "config.json"):
        with written_atomically(params.weights.folder / name) as temporary:
            temporary.write_bytes((Path(before) / name).read_bytes())
    return dict(figures)


def phase_params(params: Params, number: int, before: str) -> Params:
    """`params` of training `number`, which starts from the harmonizer in the folder `before`, or from nothing (`NONE`)."""
    phase, work = params.weights.phases[number], params.paths.work / "weights" / str(number)
    train_section, losses = params.train, params.train.optimizer.losses
    optimizer = train_section.optimizer.model_copy(update={
        "steps": phase.steps, "lr": phase.lr,
        "losses": losses.model_copy(update={"foreground_rmse": phase.foreground_rmse, "tone_ends": phase.tone_ends}),
    })
    changed = train_section.model_copy(update={
        "start_from": before, "model": train_section.model.model_copy(update={"size": phase.size}), "optimizer": optimizer,
        "data": train_section.data.model_copy(update={"natural_share": phase.natural_share}),
    })
    paths: Mapping[str, Path] = {"work": work, "harmonizer": work / "harmonizer", "metrics": work / "metrics"}
    return params.model_copy(update={"train": changed, "paths": params.paths.model_copy(update=dict(paths))})
