"""A training of twelve steps on shards made here, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.ablations.plans import with_values
from tasks.params import Params, load_params
from tasks.sample import Pair, RealComposite
from tasks.seeds import numpy_generator
from tasks.shard_samples import write_samples
from tasks.shards import encode_composite, encode_pair, write_manifest, write_shard
from tasks.syconet_files import save_syconet

SIZE = 32


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture and a square mask."""
    coarse = rng.uniform(40, 200, (4, 4, 3))
    image = np.kron(coarse, np.ones((SIZE // 4, SIZE // 4, 1))).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    top, left = rng.integers(2, 12, 2)
    mask[top : top + 16, left : left + 16] = 255
    return image, mask


def make_pairs(count: int, split: str) -> list[Pair]:
    pairs = []
    for index in range(count):
        target, mask = _scene(numpy_generator(1, split, index))
        darker = (target * 0.6).astype(np.uint8)
        composite = np.where(mask[..., None] > 0, darker, target)
        pairs.append(Pair(f"{split}-{index}", "original", "made", f"{split}-{index}", composite, mask, target))
    return pairs


def _rows() -> list[dict[str, str]]:
    """What the samples of the training run are: of its training pairs the last four are SycoNet's copies."""
    kinds = [("train", "original")] * 6 + [("train", "augmented")] * 4 + [("val", "original")] * 4
    return [
        {"key": f"{split}-{n}", "split": split, "kind": kind, "source": "made", "subset": "", "group": f"g{n}", "parent": f"p{n}"}
        for n, (split, kind) in enumerate(kinds)
    ]


def _composites(count: int) -> list[RealComposite]:
    result = []
    for index in range(count):
        plate, mask = _scene(numpy_generator(2, index))
        other, _ = _scene(numpy_generator(3, index))
        result.append(RealComposite(f"c-{index}", np.where(mask[..., None] > 0, other, plate), mask, plate, plate))
    return result


def trained_with(params: Params, **changes: Any) -> Params:
    """`params` with values of `train` laid over: sections as mappings."""
    return with_values(params, {"train": changes})


def short_training(folder: Path) -> Params:
    """Params of a training run of twelve steps, with its shards on disk."""
    params = load_params()
    names = ("shards", "mined", "syconet", "harmonizer", "metrics", "work")
    paths = params.paths.model_copy(update={name: folder / name for name in names})
    options = {"small": {"width": 8, "num_knots": 6, "grid": 2}, "pixel": {"width": 8}}
    params = trained_with(
        params.model_copy(update={"paths": paths}), start_from="none",
        model={"architecture": "small", "size": SIZE, "options": options},
        data={
            "batch_size": 4, "jitter": 0.5, "region_share": 0.45, "natural_share": 0.0, "whole_jitter": 0.8, "whole_share": 1.0,
            "soft_share": 0.0, "degraded_share": 0.0, "drawn": {"share": 0.0},
        },
        optimizer={
            "steps": 12, "warmup_steps": 2, "ema_decay": 0.5, "lr": 1e-3, "render_every": 1,
            "losses": {"foreground_mse": 1.0, "foreground_rmse": 0.0, "tone_ends": 0.0},
        },
        adversary={"supervised_warmup_steps": 2, "share": 0.4, "width": 8}, val_every=3, threads=1,
    )
    shards = [
        write_shard(paths.shards / f"{split}-00000.tar", (encode_pair(p, jpeg_quality=95) for p in make_pairs(count, split)), split=split)
        for split, count in (("train", 10), ("val", 4))
    ]
    write_manifest(paths.shards, shards, kind="pairs", meta={})
    write_samples(paths.shards, _rows())
    torch.manual_seed(0)
    config = SycoNetConfig(size=16, latent_dim=2, num_luts=2, lut_dim=3, width=8)
    save_syconet(paths.syconet, SycoNet(config), config, {})
    mined = write_shard(paths.mined / "train-00000.tar", [encode_composite(c, jpeg_quality=95) for c in _composites(6)], split="train")
    write_manifest(paths.mined, [mined], kind="composites", meta={})
    return params
