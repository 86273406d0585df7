"""Sheets of the same few pairs and real composites as training goes on, to be looked at."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from attune.foreground import FOREGROUND
from tasks.framing import resample
from tasks.params import Params
from tasks.sample import PairBatch
from tasks.shards import ShardFolder, decode_composite
from tasks.sheets import Cell, Row, write_sheet
from tasks.tensors import to_uint8
from tasks.training.validation import harmonize_pairs, score

NUM_PAIRS, NUM_COMPOSITES = 6, 4
SIDE = 256  # px, of a picture on the sheet
COLUMNS = ("composite", "mask", "harmonized", "target")
OUTLINE = (255, 0, 255)


class FixedCases:
    """The pairs and real composites that every sheet of a training shows, spread over the validation split."""

    def __init__(self, params: Params, validation: PairBatch) -> None:
        count = len(validation.mask)
        chosen = [number * count // NUM_PAIRS for number in range(NUM_PAIRS)] if count > NUM_PAIRS else list(range(count))
        self.pairs = PairBatch(*(stack[chosen] for stack in vars(validation).values()))
        self.composites = _read_composites(params, self.pairs.mask.device)

    def write_sheet(self, path: Path, model: nn.Module, *, step: int) -> None:
        """Write what `model` makes of them to `path`, a PNG."""
        rows = _rows(self.pairs, harmonize_pairs(model, self.pairs), "validation pairs", has_target=True)
        if self.composites is not None:
            rows += _rows(self.composites, harmonize_pairs(model, self.composites), "real composites, no ground truth", has_target=False)
        write_sheet(path, rows, columns=COLUMNS, title=f"step {step}", note="captions: fMSE to the target", side=SIDE)


def _read_composites(params: Params, device: torch.device) -> PairBatch | None:
    """A few real composites of the validation split (of the training split where that has none), each as its own target."""
    if params.train.adversary.share == 0:
        return None
    for split in ("val", "train"):
        with ShardFolder(params.paths.mined, split) as shards:
            if count := len(shards):
                chosen = sorted({number * count // NUM_COMPOSITES for number in range(NUM_COMPOSITES)})
                read = [decode_composite(shards.read(index), name=shards.name(index)) for index in chosen]
                images, masks = (
                    resample(np.stack(stack), params.train.model.size).to(device)
                    for stack in ([sample.composite for sample in read], [sample.mask for sample in read])
                )
                return PairBatch(images, masks, images)
    return None


def _rows(pairs: PairBatch, harmonized: Tensor, label: str, *, has_target: bool) -> list[Row]:
    composites, targets, results = (to_uint8(stack) for stack in (pairs.composite, pairs.target, harmonized))
    inside = (pairs.mask[:, 0] >= FOREGROUND).cpu().numpy()
    rows = []
    for number, (composite, target, result) in enumerate(zip(composites, targets, results, strict=True)):
        one = PairBatch(*(stack[number : number + 1] for stack in vars(pairs).values()))
        errors = score(harmonized[number : number + 1], one)
        before, after = (f"{errors[name]:.0f}" if has_target else "" for name in ("val_composite_fmse", "val_fmse"))
        last = Cell(target if has_target else np.full_like(target, 255))
        rows.append(Row((Cell(composite, before), Cell(_outlined(composite, inside[number])), Cell(result, after), last), label))
    return rows


def _outlined(image: UInt8[np.ndarray, "H W 3"], inside: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    padded = np.pad(inside, 1, mode="edge")
    buried = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outlined = image.copy()
    outlined[inside & ~buried] = OUTLINE
    return outlined
