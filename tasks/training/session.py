"""A training as it goes on: what is measured, reported, shown and saved along the way."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from tasks.checkpoints import load_resumable, save_resumable
from tasks.params import Params
from tasks.training.history import Means, Pace
from tasks.training.pictures import FixedCases
from tasks.training.schedules import learning_rate
from tasks.training.streams import Streams
from tasks.training.trainer import Trainer
from tasks.training.validation import read_validation_pairs

Report = Callable[[Mapping[str, float], int], None]
Show = Callable[[Path], None]


def not_shown(path: Path) -> None:
    """For trainings whose sheets nobody keeps."""


class Session:
    """Resumes `trainer` where a killed run of the same `key` stands, and looks after it from there on. Rank 0 alone validates, reports,
    shows and saves; every rank must call `after` at every step, as some of it is done together.
    """

    def __init__(self, params: Params, key: str, trainer: Trainer, report: Report, show: Show) -> None:
        self.params, self.section, self.trainer, self.ranks = params, params.train, trainer, trainer.ranks
        self.checkpoint, self.key = params.paths.work / "train.pt", key
        self.report, self.show = report, show
        self.history: list[dict[str, float]] = []  # one row per validation
        if (saved := load_resumable(self.checkpoint, key)) is not None:
            trainer.restore(saved)
            self.history = saved["history"]
        self.validation = read_validation_pairs(
            params.paths.shards, self.section.model.size, limit=self.section.max_val_pairs, device=self.ranks.device
        )
        self.cases = FixedCases(params, self.validation) if self.section.sheet_every else None
        self.since_report, self.since_validation = Means(), Means()
        self.is_over = False

    def watch(self, streams: Streams) -> None:
        """Training begins now, on the batches of `streams`."""
        self.pace = Pace(self.trainer.progress.step, lambda: streams.wait_seconds, self.ranks.device)

    def after(self, losses: Mapping[str, Tensor], step: int) -> None:
        """What is due after `step` has been taken."""
        section, done = self.section, step + 1
        self.since_report.add(losses)
        self.since_validation.add(losses)
        if done % self.params.speed.report_every == 0:
            self._report({"lr": learning_rate(section.optimizer, step), **self.ranks.mean(self.since_report.take())}, done)
            self._report(self.pace.take(done, section.data.batch_size), done)
        with self.pace.paused():
            if self.cases is not None and self.ranks.leads and done % section.sheet_every == 0:
                self._show(done)
            if done % section.val_every == 0 or done == section.optimizer.steps:
                self._validate(step)

    def _validate(self, step: int) -> None:
        trainer, done = self.trainer, step + 1
        means = self.ranks.mean(self.since_validation.take())
        self.ranks.check_equal(trainer.harmonizer, trainer.discriminator, trainer.average)
        if self.ranks.leads:
            scores = trainer.validate(self.validation)
            self.history.append({"step": done, "lr": learning_rate(self.section.optimizer, step), **means, **scores})
            self._report(scores, done)
        self.is_over = done == self.section.optimizer.steps or self.ranks.agree(trainer.is_stale)
        if self.ranks.leads and not self.is_over:
            save_resumable(self.checkpoint, self.key, {**trainer.state(), "history": self.history})

    def _report(self, metrics: Mapping[str, float], done: int) -> None:
        if self.ranks.leads:
            self.report(metrics, done)

    def _show(self, done: int) -> None:
        assert self.cases is not None
        path = self.params.paths.work / "train" / f"sheet_{done:06d}.png"
        self.cases.write_sheet(path, self.trainer.average, step=done)
        self.show(path)
