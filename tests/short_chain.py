"""A chain of two stages that costs seconds, and the photographs it learns from: for tests of what happens around a pipeline.

`ingest` is the real one, without a server. `train` fits a real harmonizer, small, to the pairs. In each photograph object and background
stand in one light, whose colour differs from photograph to photograph: what can be learned is to give an object the light around it.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from tasks.params import Params

DVC_YAML = """\
stages:
  ingest:
    desc: photographs become pairs
    cmd: python short_chain.py ingest
    deps: ["${paths.raw}", short_chain.py]
    params: [seed, ingest]
    outs: ["${paths.index}", "${paths.composites}"]
    metrics:
      - ${paths.metrics}/ingest.json: {cache: false}
  train:
    desc: pairs become a harmonizer
    cmd: python short_chain.py train
    deps: ["${paths.index}", "${paths.composites}", short_chain.py]
    params: [seed, train.optimizer.steps, train.optimizer.lr]
    outs: ["${paths.harmonizer}"]
"""
SIDE = 64  # px, of a photograph
SIZE = 32  # px, of the network's input
BATCH = 16

Light = Callable[[np.random.Generator], np.ndarray]


# --- Photographs ------------------------------------------------------------------------------------------------------------------------


def dim_or_bright(rng: np.random.Generator) -> np.ndarray:
    """A light of hardly any colour."""
    return np.full(3, rng.uniform(0.95, 1.05))


def coloured(rng: np.random.Generator) -> np.ndarray:
    """A light of any colour."""
    return rng.uniform(0.75, 1.25, 3)


def write_photographs(folder: Path, numbers: range, split: str, light: Light, *, false_light: bool = False) -> None:
    """Add photographs with one mask each, and their rows of manifest.csv, to a folder in the layout of the source photos.

    false_light: the object stands in the light's opposite: who learns from that will do harm.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    fresh = not (folder / "manifest.csv").exists()
    with open(folder / "manifest.csv", "a", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        if fresh:
            rows.writerow(["image", "mask", "split"])
        for number in numbers:
            rng = np.random.default_rng(number)
            behind = light(rng)
            image, mask = _photograph(rng, behind, 2 - behind if false_light else behind)
            cv2.imwrite(str(folder / f"images/p{number:03d}.png"), np.ascontiguousarray(image[..., ::-1]))
            cv2.imwrite(str(folder / f"masks/p{number:03d}.png"), mask)
            rows.writerow([f"p{number:03d}", f"p{number:03d}", split])


def _photograph(rng: np.random.Generator, behind: np.ndarray, on_object: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def surface(cells: int) -> np.ndarray:
        coarse = cv2.resize(rng.uniform(-40, 40, (cells, cells)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return 110 + (coarse - coarse.mean())[..., None] + rng.normal(0, 5, (SIDE, SIDE, 3))

    mask = np.zeros((SIDE, SIDE), np.uint8)
    (x, y), (wide, tall) = rng.integers(26, 38, 2).tolist(), rng.integers(12, 20, 2).tolist()
    cv2.ellipse(mask, (x, y), (wide, tall), 0, 0, 360, 255, -1)
    image = np.where(mask[..., None] > 0, surface(3) * on_object, surface(4) * behind)
    return np.clip(image, 0, 255).round().astype(np.uint8), mask


# --- Stages -----------------------------------------------------------------------------------------------------------------------------


def ingest(params: "Params | None" = None) -> None:
    """The stage of that name, its units of work one after another; with the params of the current folder, if none are given."""
    from attune.files import write_json
    from tasks.ingest import finish_ingest, plan_ingest, settle_ingest
    from tasks.ingestion.check_chunks import check_chunk
    from tasks.ingestion.composite_chunks import compose_chunk
    from tasks.params import load_params

    params = params or load_params()
    for check in plan_ingest(params):
        check_chunk(params, check)
    for composites in settle_ingest(params):
        compose_chunk(params, composites)
    write_json(params.paths.metrics / "ingest.json", finish_ingest(params))


def train() -> None:
    """Fit a small harmonizer to the index's training pairs, and write the released model beside its weights, as the stage does."""
    import torch
    from torch.nn.functional import interpolate

    from attune.images import read_image, read_mask
    from attune.model_files import MODEL_ONNX
    from models.architectures import harmonizer_config
    from models.harmonizer import build_harmonizer
    from tasks.export import release_harmonizer
    from tasks.harmonizer_files import save_harmonizer
    from tasks.index import read_index
    from tasks.params import load_params
    from tasks.tensors import to_tensor

    params = load_params()
    torch.manual_seed(params.seed)
    torch.set_num_threads(1)
    rows = read_index(params.paths.index, "pairs", split="train")
    readers = {"composite": read_image, "mask": read_mask, "target": read_image}
    composites, masks, targets = (
        interpolate(torch.cat([to_tensor(read(Path(row[f"{name}_path"]))) for row in rows]), size=(SIZE, SIZE), mode="area")
        for name, read in readers.items()
    )
    config = harmonizer_config(
        "small", size=SIZE, plate=False, width=8, num_knots=4, grid=4, shading="symmetric", shading_limit=1.05, edit="both",
        encode_curves=False, read_rim=False, encoder_size=64,
    )
    model = build_harmonizer(config)
    optimizer = torch.optim.AdamW(model.parameters(), params.train.optimizer.lr)
    for _ in range(params.train.optimizer.steps):
        drawn = torch.randint(len(rows), (BATCH,))
        mask = masks[drawn]
        error = (model(composites[drawn], mask).harmonized - targets[drawn]).square() * mask
        optimizer.zero_grad()
        (error.sum() / mask.sum()).backward()
        optimizer.step()
    save_harmonizer(params.paths.harmonizer, model.eval(), config, {"steps": params.train.optimizer.steps})
    release_harmonizer(model, params.paths.harmonizer / MODEL_ONNX, {})


if __name__ == "__main__":
    {"ingest": ingest, "train": train}[sys.argv[1]]()
