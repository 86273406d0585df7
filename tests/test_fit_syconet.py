"""Stage fit_syconet: what it leaves, that it resumes exactly and never a foreign state, and that a collapsed code is said."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attune.images import encode_jpeg, encode_png, read_image
from models.syconet import SycoNet
from tasks.evaluation.findings import read_findings
from tasks.fit_syconet import fit_syconet
from tasks.index import PAIRS, read_index, write_table
from tasks.params import Params
from tasks.syconet_files import load_syconet

Draw = Callable[..., np.ndarray]
Configure = Callable[..., Params]
TINY = {
    "syconet.size": 16, "syconet.latent_dim": 2, "syconet.num_luts": 3, "syconet.lut_dim": 4, "syconet.width": 4, "syconet.steps": 8,
    "syconet.batch_size": 4, "speed.report_every": 4, "speed.checkpoint_every": 3, "syconet.threads": 1,
}


def write_image(path: str, data: bytes) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def index(project: Path, photograph: Draw, object_mask: Draw) -> Iterator[Path]:
    """Photographs whose foreground was made lighter or darker by a gain: 12 pairs to train on, 4 to validate."""
    del project
    rows: list[dict[str, Any]] = []
    mask = object_mask(24, 32, 0.4)
    for split, count in (("train", 6), ("val", 2)):
        for number in range(count):
            name = f"{split}{number}"
            target = photograph(24, 32, number + 10 * (split == "val"))
            row: dict[str, Any] = {"source": "starter", "subset": "photographs", "split": split, "group": name, "width": 32, "height": 24}
            row |= {"target_path": f"raw/{name}.png", "mask_path": f"raw/{name}_m.png", "fg_ratio": 0.4, "label": "", "method": "gain"}
            row["target_sha256"], row["mask_sha256"] = (
                write_image(row[f"{field}_path"], encode_png(image)) for field, image in (("target", target), ("mask", mask))
            )
            for k, gain in enumerate((0.5, 1.3)):
                changed = np.clip(target * gain, 0, 255).astype(np.uint8)
                composite = np.where(mask[..., None] > 0, changed, target)
                facts: dict[str, Any] = {"key": f"{name}.{k}", "composite_path": f"raw/{name}_{k}.jpg", "composite_fmse": 1.0}
                facts["composite_sha256"] = write_image(facts["composite_path"], encode_jpeg(composite, 100))
                rows.append({**row, **facts})
    write_table(Path("data/index/pairs.parquet"), rows, PAIRS)
    threads = torch.get_num_threads()
    yield Path("data/index")
    torch.set_num_threads(threads)


def quiet(metrics: Mapping[str, float], step: int) -> None:
    del metrics, step


def no_progress(done: int, total: int) -> None:
    del done, total


def killed_after(step: int, seen: list[int] | None = None) -> Callable[[int, int], None]:
    def advance(done: int, total: int) -> None:
        del total
        if seen is not None:
            seen.append(done)
        if done == step:
            raise KeyboardInterrupt

    return advance


def test_a_network_that_nobody_asks_for_needs_no_training_pairs(index: Path, configure: Configure) -> None:
    write_table(index / "pairs.parquet", read_index(index, "pairs", split="val"), PAIRS)
    params = configure({**TINY, "syconet.steps": 0})
    metrics = fit_syconet(params, quiet, no_progress)
    assert metrics["identity_fmse"] > 0
    assert load_syconet(params.paths.syconet)[0].config.latent_dim == 2


def test_a_run_reports_saves_and_draws_what_it_learned(index: Path, configure: Configure) -> None:
    del index
    params = configure(TINY)
    reported: list[tuple[int, set[str]]] = []
    steps: list[tuple[int, int]] = []
    metrics = fit_syconet(
        params, lambda values, step: reported.append((step, set(values))), lambda done, total: steps.append((done, total))
    )
    assert set(metrics) > {
        "reconstruction_fmse", "identity_fmse", "reconstruction_ratio", "active_units", "kl", "lut_usage_entropy", "dead_luts", "collapsed",
        "coverage_10_syconet", "coverage_10_jitter", "coverage_10_tables", "any_syconet", "diversity_syconet", "background_exact",
    }
    assert metrics["background_exact"] == 1.0
    assert read_findings(params.paths.metrics)["syconet_quality"].better == "lower"
    assert steps == [(done, 8) for done in range(1, 9)]
    assert [step for step, _ in reported] == [4, 8, 8]
    assert reported[0][1] >= {"loss", "reconstruction", "kl"}
    model, config = load_syconet(params.paths.syconet)
    assert config.latent_dim == 2
    assert not model.training
    sheet = read_image(params.paths.syconet / "sheet.png")
    assert sheet.shape[1] > 11 * 32
    assert sorted(path.name for path in params.paths.syconet.iterdir()) == ["config.json", "model.pt", "sheet.png"]
    assert not list(params.paths.work.iterdir())


def test_a_killed_run_resumes_and_ends_with_the_weights_of_an_uninterrupted_one(index: Path, configure: Configure) -> None:
    del index
    params = configure(TINY)
    whole = fit_syconet(params, quiet, no_progress)
    expected = (params.paths.syconet / "model.pt").read_bytes()
    (params.paths.syconet / "model.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        fit_syconet(params, quiet, killed_after(5))
    assert not (params.paths.syconet / "model.pt").exists()
    seen: list[int] = []
    assert fit_syconet(params, quiet, lambda done, total: seen.append(done)) == whole
    assert seen == [4, 5, 6, 7, 8]
    assert (params.paths.syconet / "model.pt").read_bytes() == expected


def test_another_param_or_input_never_resumes_a_foreign_state(index: Path, configure: Configure) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_syconet(configure(TINY), quiet, killed_after(5))
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fit_syconet(configure({**TINY, "syconet.lr": 2e-3}), quiet, killed_after(1, seen))
    assert seen == [1]
    rows = read_index(index, "pairs")
    rows[0]["composite_sha256"] = "another"
    write_table(index / "pairs.parquet", rows, PAIRS)
    with pytest.raises(KeyboardInterrupt):
        fit_syconet(configure(TINY), quiet, killed_after(1, seen))
    assert seen == [1, 1]


def test_edited_code_never_resumes_and_other_code_does(
    index: Path, configure: Configure, edit_code: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    del index

    def first_step(params: Params) -> int:
        seen: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            fit_syconet(params, quiet, lambda done, _: killed_after(done, seen)(done, 0) if seen else seen.append(done))
        return seen[0]

    params = configure(TINY)
    with pytest.raises(KeyboardInterrupt):
        fit_syconet(params, quiet, killed_after(5))
    edit_code("models/harmonizer.py")
    assert first_step(configure({**TINY, "speed.report_every": 5})) == 4, "a param that changes speed alone begins anew"
    edit_code("models/lut.py")
    with caplog.at_level(logging.WARNING):
        assert first_step(params) == 1
    assert "fit_syconet.pt belongs to other params, inputs or code" in caplog.text


class Deaf(SycoNet):
    """A network that names one table whatever the code, and one code whatever the composite."""

    def weigh(self, photograph: torch.Tensor, mask: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return super().weigh(photograph, mask, torch.zeros_like(code))


@pytest.mark.usefixtures("index")
def test_a_collapse_is_said_in_the_log(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.augmentation.syconet_training.SycoNet", Deaf)
    with caplog.at_level(logging.WARNING):
        fit_syconet(configure(TINY), quiet, no_progress)
    assert "latent code has collapsed" in caplog.text


def test_a_split_without_pairs_is_named(index: Path, configure: Configure) -> None:
    write_table(index / "pairs.parquet", [], PAIRS)
    with pytest.raises(ValueError, match=r"pairs\.parquet: no pairs of split 'val'"):
        fit_syconet(configure(TINY), quiet, no_progress)
