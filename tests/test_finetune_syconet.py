"""Stage finetune_syconet: from the union's weights, on one domain's pairs alone, resumed exactly."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attune.images import encode_png
from tasks.augmentation.domains import UNION, checkpoint_folder
from tasks.augmentation.pairs import choose_rows
from tasks.finetune_syconet import finetune_syconet
from tasks.fit_syconet import fit_syconet
from tasks.index import PAIRS, write_table
from tasks.params import Params
from tasks.syconet_files import load_syconet

Draw = Callable[..., np.ndarray]
TINY = {
    "syconet.size": 16, "syconet.latent_dim": 2, "syconet.num_luts": 3, "syconet.lut_dim": 4, "syconet.width": 4, "syconet.steps": 4,
    "finetune_syconet.steps": 6, "syconet.batch_size": 4, "speed.report_every": 4, "speed.checkpoint_every": 2, "syconet.threads": 1,
    "finetune_syconet.domains": ["photos/dark"],
}


@pytest.fixture
def params(project: Path, configure: Callable[..., Params], photograph: Draw, object_mask: Draw) -> Iterator[Params]:
    """Two sub-sets of photographs, of which one has darkened foregrounds and the other brightened ones, and the union's SycoNet."""
    del project
    rows: list[dict[str, Any]] = []
    mask = object_mask(24, 32, 0.4)
    for subset, gain in (("dark", 0.5), ("bright", 1.4)):
        for split, count in (("train", 4), ("val", 2)):
            for number in range(count):
                name = f"{subset}-{split}{number}"
                target = photograph(24, 32, number)
                row: dict[str, Any] = {"key": name, "source": "photos", "subset": subset, "split": split, "group": name, "label": ""}
                row |= {"width": 32, "height": 24, "fg_ratio": 0.4, "method": "gain", "composite_fmse": 1.0}
                changed = np.clip(target * gain, 0, 255).astype(np.uint8)
                images = {"target": target, "mask": mask, "composite": np.where(mask[..., None] > 0, changed, target)}
                for field, image in images.items():
                    data = encode_png(image)
                    row[f"{field}_path"], row[f"{field}_sha256"] = f"raw/{name}_{field}.png", hashlib.sha256(data).hexdigest()
                    Path("raw").mkdir(exist_ok=True)
                    Path(row[f"{field}_path"]).write_bytes(data)
                rows.append(row)
    write_table(Path("data/index/pairs.parquet"), rows, PAIRS)
    found = configure(TINY)
    threads = torch.get_num_threads()
    fit_syconet(found, quiet, no_progress)
    yield found
    torch.set_num_threads(threads)


def quiet(metrics: Any, step: int) -> None:
    del metrics, step


def no_progress(done: int, total: int) -> None:
    del done, total


def test_only_the_domains_pairs_are_learned_and_measured(params: Params) -> None:
    assert {row["subset"] for row in choose_rows(params, "train", 99, "photos/dark")} == {"dark"}
    assert len(choose_rows(params, "val", 99, UNION)) == 4
    metrics = finetune_syconet(params, "photos/dark", quiet, no_progress)
    assert metrics["identity_fmse"] > 1000
    assert {"union_reconstruction_fmse", "union_coverage_10_syconet", "reconstruction_fmse", "collapsed"} <= set(metrics)
    folder = checkpoint_folder(params, "photos/dark")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.pt", "sheet.png"]
    union, tuned = (load_syconet(path)[0] for path in (params.paths.syconet, folder))
    assert not torch.equal(union.basis, tuned.basis)
    assert (union.basis - tuned.basis).abs().max() < 0.2  # six small steps away


def test_a_killed_fine_tuning_ends_with_the_weights_of_an_uninterrupted_one(params: Params) -> None:
    finetune_syconet(params, "photos/dark", quiet, no_progress)
    path = checkpoint_folder(params, "photos/dark") / "model.pt"
    expected = path.read_bytes()
    path.unlink()

    def killed(done: int, total: int) -> None:
        del total
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_syconet(params, "photos/dark", quiet, killed)
    seen: list[int] = []
    finetune_syconet(params, "photos/dark", quiet, lambda done, total: seen.append(done))
    assert seen == [5, 6]
    assert path.read_bytes() == expected


def test_edited_code_never_resumes_a_fine_tuning_and_other_code_does(params: Params, edit_code: Callable[[str], None]) -> None:
    seen: list[int] = []

    def killed(done: int, _total: int) -> None:
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    for file in ("tasks/mine.py", "models/harmonizer.py", "models/syconet.py"):
        edit_code(file)
        with pytest.raises(KeyboardInterrupt):
            finetune_syconet(params, "photos/dark", quiet, killed)
    assert seen == [1, 2, 3, 3, 1, 2, 3]


def test_naming_a_domain_leaves_the_unions_files_as_they_are(params: Params, configure: Callable[..., Params]) -> None:
    before = {path.name: path.read_bytes() for path in params.paths.syconet.iterdir()}
    fit_syconet(configure({**TINY, "finetune_syconet.domains": [], "finetune_syconet.steps": 9}), quiet, no_progress)
    assert {path.name: path.read_bytes() for path in params.paths.syconet.iterdir()} == before


def test_a_domain_without_pairs_is_named(params: Params) -> None:
    with pytest.raises(ValueError, match=r"no pairs of split 'val' in domain 'photos/cats', which finetune_syconet\.domains names"):
        finetune_syconet(params, "photos/cats", quiet, no_progress)
