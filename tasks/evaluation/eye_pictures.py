"""The real composites that are to be judged by eye, harmonized at a size to look at."""

import numpy as np

from attune.images import shrink_to
from tasks.evaluation.eye_sheet import ForTheEye, draw_for_the_eye
from tasks.evaluation.measurements import HARMONIZED
from tasks.evaluation.methods import Methods, harmonize_examples
from tasks.evaluation.protocols import Example, read_pictures
from tasks.index import read_real_composites
from tasks.params import Params

MAX_SIDE = 640  # px, a picture's longer side


def pictures_for_the_eye(params: Params, methods: Methods, model: str) -> ForTheEye:
    """At most `evaluate.eye_composites` of the index's real composites, drawn by lot, and the harmonizer's answers.

    None where the harmonizer needs plates, which real composites do not have. model: a hash of the harmonizer.
    BadSample (a ValueError) names a file that cannot be read.
    """
    network = methods.networks[HARMONIZED]
    drawn = draw_for_the_eye(read_real_composites(params.paths.index), params.evaluate.eye_composites, params.seed)
    pictures, keys = [], []
    for row in drawn if not network.config.plate else []:
        found = read_pictures(row, max_megapixels=params.ingest.max_megapixels)
        composite, mask = shrink_to(found["composite"], MAX_SIDE), shrink_to(found["mask"], MAX_SIDE)
        answer = harmonize_examples(network, [Example(row, composite, mask, target=None, plate=None)], native=True)[0]
        pictures.append((composite, mask, np.asarray(answer)))
        keys.append(str(row["key"]))
    return ForTheEye(pictures, keys, model)
