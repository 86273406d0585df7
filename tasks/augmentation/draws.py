"""Composites drawn by SycoNet for a photograph, and which of them are kept: all, or those that a harmonizer finds hardest."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from attune.images import resize_image
from models.losses import foreground_errors
from models.syconet import SycoNet
from tasks.augmentation.domains import Row, SycoNets
from tasks.augmentation.faults import Image, Mask, find_faults
from tasks.harmonizer_files import load_harmonizer
from tasks.lut_kernel import apply_lut_uint8
from tasks.params import Params
from tasks.seeds import derive_seed
from tasks.tensors import to_tensor


@dataclass(frozen=True)
class Draw:
    """A composite of a photograph, and what it was made by (provenance, as it stands in a sample's JSON)."""

    composite: Image
    about: dict[str, Any]


def draw_composites(
    params: Params, syconets: SycoNets, rows: Sequence[Row], photographs: Sequence[tuple[Image, Mask]]
) -> list[list[Draw]]:
    """For each row of the index, `augment.draws` composites of its photograph, or `augment.copies` if that is more.

    Draw k of a photograph has the same seed whatever else is drawn. Backgrounds are the photograph's, bit for bit.
    """
    count = max(params.augment.copies, params.augment.draws)
    seeds = [[derive_seed(params.seed, "augment", row["key"], number) for number in range(count)] for row in rows]
    found: list[list[Draw]] = [[] for _ in rows]
    makers = [syconets.of(row) for row in rows]
    for maker in {maker.domain: maker for maker in makers}.values():
        places = [place for place, of_row in enumerate(makers) if of_row is maker]
        tables = predict_tables(maker.model, [photographs[place] for place in places], [seeds[place] for place in places])
        for place, of_row in zip(places, tables, strict=True):
            target, mask = photographs[place]
            made_by = {"parent": rows[place]["key"], "syconet": maker.digest} | ({"domain": maker.domain} if maker.domain else {})
            found[place] = [
                Draw(apply_lut_uint8(target, lut, mask), {**made_by, "z_seed": seed})
                for lut, seed in zip(of_row, seeds[place], strict=True)
            ]
    return found


@torch.inference_mode()
def predict_tables(
    model: SycoNet, photographs: Sequence[tuple[Image, Mask]], seeds: Sequence[Sequence[int]]
) -> Float32[np.ndarray, "B K 3 D D D"]:
    """A table for each photograph and each of its seeds. All photographs have equally many."""
    size, count = model.config.size, len(seeds[0])
    images = to_tensor(np.stack([resize_image(image, size, size) for image, _ in photographs])).repeat_interleave(count, dim=0)
    masks = to_tensor(np.stack([resize_image(mask, size, size) for _, mask in photographs])).repeat_interleave(count, dim=0)
    codes = torch.stack([
        torch.randn(model.config.latent_dim, generator=torch.Generator().manual_seed(seed)) for of_one in seeds for seed in of_one
    ])
    luts: Float32[np.ndarray, "N 3 D D D"] = model.generate(images, masks, codes).numpy()
    return luts.reshape(len(photographs), count, *luts.shape[1:])


class HardCases:
    """Keeps, of a photograph's draws, those that a trained harmonizer leaves furthest from it.

    Niu et al., ICCV 2023, name this as future work. A composite that is implausible is hard for the wrong reason: it is kept only where too
    few others are left, the one nearest to the photograph first.
    """

    def __init__(self, params: Params) -> None:
        """Raises ValueError naming the file if there is no harmonizer in `augment.harmonizer`, or it is one that takes a plate."""
        assert params.augment.harmonizer is not None
        self.limits = params.ingest.synthesis
        self.harmonizer, config = load_harmonizer(params.augment.harmonizer)
        self.digest = harmonizer_digest(params)
        if config.plate:
            raise ValueError(f"augment.harmonizer: {params.augment.harmonizer} takes a plate, which training photographs have none of")

    def keep(self, draws: Sequence[Draw], photograph: Image, mask: Mask, *, most: int) -> list[Draw]:
        """The `most` hardest, hardest first, `about` telling harmonizer, rank (1 is the hardest of all), and fMSE that was left."""
        left = self.remaining_fmse([draw.composite for draw in draws], photograph, mask)
        faults = [find_faults(photograph, draw.composite, mask, self.limits) for draw in draws]
        ranks = {place: rank for rank, place in enumerate(np.argsort(-left, kind="stable").tolist(), start=1)}
        order = sorted(ranks, key=lambda place: (bool(faults[place]), ranks[place] if not faults[place] else -ranks[place]))
        return [
            Draw(draws[place].composite, {
                **draws[place].about, "harmonizer": self.digest, "rank": ranks[place], "remaining_fmse": round(float(left[place]), 1),
                "faults": sorted(faults[place]),
            })
            for place in order[:most]
        ]

    @torch.inference_mode()
    def remaining_fmse(self, composites: Sequence[Image], photograph: Image, mask: Mask) -> np.ndarray:
        """Per composite, the squared difference to the photograph that harmonizing leaves inside the mask, in squared grey levels."""
        batch = to_tensor(np.stack(composites))
        level, target = (to_tensor(picture).expand(len(batch), -1, -1, -1) for picture in (mask, photograph))
        harmonized = self.harmonizer(batch, level).harmonized
        return np.asarray(foreground_errors(harmonized, target, level).numpy())


def harmonizer_digest(params: Params) -> str:
    """What tells the weights of `augment.harmonizer` apart. Raises ValueError naming the file if it is missing."""
    assert params.augment.harmonizer is not None
    path = params.augment.harmonizer / "model.pt"
    if not path.is_file():
        raise ValueError(f"{path}: augment.harmonizer names no trained harmonizer")
    return sha256(path.read_bytes()).hexdigest()[:16]
