"""The pictures of a poll: real composites as each method leaves them, in the layout that tasks/poll/turns.py reads.

Real composites that were brought are taken first; where the index holds none, mined ones of photographs that training never saw stand in,
rendered anew from their recipes at a size that can be looked at.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attune.files import clear_folder, write_bytes
from attune.images import encode_png, read_image, read_mask, resize_image, shrink_to
from tasks.evaluation.methods import Methods
from tasks.evaluation.protocols import Example
from tasks.index import read_index, read_real_composites, read_table
from tasks.mining.recipes import RECIPES, render_recipe
from tasks.params import Params
from tasks.poll.turns import MASKS
from tasks.seeds import numpy_generator

_SPLITS = ("test", "val")  # of mined composites

Row = dict[str, Any]


def write_poll_pictures(params: Params, methods: Methods, folder: Path, advance: Callable[[int, int], None]) -> int:
    """Write `<folder>/<method>/<key>.png` for each of `poll.methods`, and `<folder>/masks/<key>.png`; the number of images.

    The folders of these methods are written anew; those of others are left alone. Equal inputs give equal bytes.
    Raises ValueError naming the key if a method is unknown, or the project has no real composites yet.
    """
    known = {*methods.baselines, *methods.networks}
    if unknown := [name for name in params.poll.methods if name not in known]:
        said = f"add its pictures yourself as {folder / unknown[0]}/<image>.png"
        raise ValueError(f"poll.methods: {unknown[0]!r} is none of {', '.join(sorted(known))}; {said}")
    rows, read = _real_composites(params)
    targets = {name: clear_folder(folder / name) for name in (*params.poll.methods, MASKS)}
    wanted, done = min(params.poll.num_images, len(rows)), 0
    for number in numpy_generator(params.seed, "study", "images").permutation(len(rows)):
        if done == wanted:
            break
        example = read(rows[number])
        if not 0 < example.num_foreground < example.mask.size:
            continue
        answers = {name: baseline(example.composite, example.mask) for name, baseline in methods.baselines.items() if name in targets}
        answers |= methods.predict([example])[0] | {MASKS: example.mask}
        for name, target in targets.items():
            write_bytes(target / f"{example.row['key']}.png", encode_png(answers[name]))
        done += 1
        advance(done, wanted)
    return done


def _real_composites(params: Params) -> tuple[list[Row], Callable[[Row], Example]]:
    """The rows of all real composites there are, and how one becomes an example."""
    limit, side = params.ingest.max_megapixels, params.poll.max_side
    brought = read_real_composites(params.paths.index)
    if brought:
        def read(row: Row) -> Example:
            composite = shrink_to(read_image(Path(row["composite_path"]), max_megapixels=limit), side)
            return Example(row, composite, shrink_to(read_mask(Path(row["mask_path"]), max_megapixels=limit), side), None, None)

        return brought, read
    recipes = read_table(params.paths.mined / "recipes.parquet", RECIPES, filters=[("split", "in", _SPLITS)])
    shapes = {row["key"]: (row["height"], row["width"]) for row in read_index(params.paths.index, "photographs")}
    return recipes, lambda recipe: _render(recipe, shapes[recipe["bg_key"]], side)


def _render(recipe: Row, shape: tuple[int, int], max_side: int) -> Example:
    """A mined composite in a frame some whole number of times as large, with the aspect of its background's photograph."""
    longest = min(max_side, max(shape))
    times = max(1, longest // recipe["size"])
    sample = render_recipe(_enlarged(recipe, times)).sample
    scale = times * recipe["size"] / max(shape)
    height, width = (max(1, round(side * scale)) for side in shape)
    return Example(recipe, resize_image(sample.composite, height, width), resize_image(sample.mask, height, width), None, None)


def _enlarged(recipe: Row, times: int) -> Row:
    """The recipe for a frame `times` as large: every length that is in its pixels grows with it."""
    lengths = {name: times * recipe[name] for name in ("size", "choke", "feather_sigma", "plate_margin")}
    boxes = {name: [times * side for side in recipe[name]] for name in ("target_box", "natural_target_box")}
    return {**recipe, **lengths, **boxes}
