"""SycoNet to look at: photograph, true composite, reconstruction, and draws, on photographs that training never saw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attune.images import read_image, read_mask, shrink_to
from models.syconet import SycoNet
from tasks.augmentation.domains import Row
from tasks.augmentation.pairs import read_pairs, to_batch
from tasks.color.difference import foreground_mse
from tasks.lut_kernel import apply_lut_uint8
from tasks.params import Params
from tasks.seeds import torch_generator
from tasks.sheets import Cell, write_sheet
from tasks.sheets import Row as SheetRow

NUM_SHOWN = 8
NUM_ROWS, SIDE = 8, 180  # of the sheet; px, of a picture


def write_syconet_sheet(path: Path, params: Params, model: SycoNet, rows: Sequence[Row], *, title: str) -> None:
    """Write the sheet of pairs spread evenly over `rows`, photographs before repeated ones. `model`: on the CPU, in evaluation mode."""
    first = {row["target_path"]: row for row in reversed(rows)}
    photographs = sorted(first.values(), key=lambda row: row["key"])
    count = min(NUM_ROWS, len(photographs))
    picked = [photographs[index * len(photographs) // count] for index in range(count)]
    codes = torch.randn(NUM_SHOWN, model.config.latent_dim, generator=torch_generator(params.seed, "syconet", "sheet"))
    write_sheet(
        path, [sheet_row(params, model, row, codes) for row in picked],
        columns=["photograph", "true composite", "reconstruction", *(f"draw {number + 1}" for number in range(NUM_SHOWN))],
        title=title, note="below: fMSE to the photograph, in squared grey levels; the reconstruction's to the true composite too",
        side=SIDE,
    )


@torch.inference_mode()
def sheet_row(params: Params, model: SycoNet, row: Row, codes: Float[Tensor, "K Z"]) -> SheetRow:
    """Photograph, true composite, reconstruction, and one draw per code."""
    batch = to_batch(read_pairs(params, [row]), np.arange(1), torch.device("cpu"))
    megapixels = params.ingest.max_megapixels
    composite, target = (
        shrink_to(read_image(Path(row[f"{field}_path"]), max_megapixels=megapixels), SIDE) for field in ("composite", "target")
    )
    mask = shrink_to(read_mask(Path(row["mask_path"]), max_megapixels=megapixels), SIDE)
    codes = torch.cat([model.encode(batch.target, batch.mask, batch.composite).mean, codes])
    luts = model.generate(batch.target.expand(len(codes), -1, -1, -1), batch.mask.expand(len(codes), -1, -1, -1), codes).numpy()
    rebuilt, *draws = (apply_lut_uint8(target, lut, mask) for lut in luts)

    def fmse(image: np.ndarray, reference: np.ndarray) -> float:
        return foreground_mse(image, reference, mask)

    left = f"{fmse(rebuilt, target):.0f}, to the true one {fmse(rebuilt, composite):.0f}"
    cells = [Cell(target), Cell(composite, f"{fmse(composite, target):.0f}"), Cell(rebuilt, left)]
    return SheetRow((*cells, *(Cell(draw, f"{fmse(draw, target):.0f}") for draw in draws)))
