"""A probe for tell-tales of pasting: can the fine structure along the mask's border alone give a class of images away?

The probe sees lightness only, high-passed, in a band along the border, and of that only ratios of energies: colour, low frequencies and
contrast are gone. What is left is the make: how sharp the edge is, whether the texture beside it was filled in or resampled.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from attune.foreground import FOREGROUND_LEVEL
from attune.images import decode_image, encode_jpeg
from tasks.mining.recipes import render_recipe

_SIGMA = 1.0  # px of the low-pass that is taken away
_REACH = 6  # px on each side of the border
_EPSILON = 1e-3
_HELD_OUT = ("val", "test")


def border_features(image: UInt8[np.ndarray, "S S 3"], matte: UInt8[np.ndarray, "S S"]) -> Float32[np.ndarray, " F"]:
    """Ln energies of the high-passed lightness by distance from the border, relative to the whole band, across and along the border.

    Per pixel of distance (2 * 6 bins): the high-pass itself, its derivative across the border and the one along it. The matte's own edge
    at 0.5 is the border. Multiplying the contrast or adding a smooth field changes nothing but the rounding.
    """
    inside = matte >= FOREGROUND_LEVEL
    outwards = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    inwards = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    signed = np.where(inside, 0.5 - inwards, outwards - 0.5).astype(np.float32)
    lightness = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = lightness - cv2.GaussianBlur(lightness, (0, 0), _SIGMA)
    smooth = cv2.GaussianBlur(signed, (0, 0), _SIGMA)
    normal = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    slope = np.stack([cv2.Sobel(fine, cv2.CV_32F, 1, 0), cv2.Sobel(fine, cv2.CV_32F, 0, 1)]) / 8.0
    across, along = (slope * normal).sum(axis=0), slope[0] * normal[1] - slope[1] * normal[0]
    frame_edge = np.zeros(inside.shape, bool)
    frame_edge[2:-2, 2:-2] = True  # the filters look past the image there
    features = []
    for field in (fine, across, along):
        bins = [np.square(field[frame_edge & (signed > start) & (signed <= start + 1)]) for start in range(-_REACH, _REACH)]
        energies = np.array([values.mean() if values.size else 0.0 for values in bins]) + _EPSILON
        features.append(np.log(energies / energies.mean()))
    whole = [math.log(float(np.square(field[np.abs(signed) <= _REACH]).mean()) + _EPSILON) for field in (fine, across, along)]
    return np.concatenate([*features, [whole[1] - whole[0], whole[2] - whole[0]]]).astype(np.float32)


FeaturePair = tuple[Float32[np.ndarray, "_N F"], Float32[np.ndarray, "_M F"]]


def probe_auc(train: FeaturePair, test: FeaturePair, *, seed: int) -> float:
    """The area under the ROC curve of a classifier trained on two classes' features and tried on others of both: 0.5 is blind.

    The better of a logistic regression and boosted trees, each chosen by nothing but its kind: a tell-tale that either finds counts.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, labels = np.concatenate(train), np.repeat([0, 1], [len(part) for part in train])
    seen, truth = np.concatenate(test), np.repeat([0, 1], [len(part) for part in test])
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, max_leaf_nodes=8, random_state=seed),
    ]
    return max(float(roc_auc_score(truth, model.fit(inputs, labels).predict_proba(seen)[:, 1])) for model in models)


def measure_tell_tales(recipes: Sequence[Mapping[str, Any]], *, seed: int, num_workers: int) -> dict[str, float]:
    """The probe's AUC for natural samples against mined composites, and, as proof that it can see, for untouched photographs against them.

    The probe learns on the recipes of split train and is tried on those of val and test, which are other photographs. Every image goes
    through the recipe's JPEG first. Raises ValueError if either side is empty. Should: natural at most 0.60, untouched over 0.80.
    """
    learnt = np.array([recipe["split"] not in _HELD_OUT for recipe in recipes], bool)
    if not learnt.any() or learnt.all():
        raise ValueError(f"the probe needs recipes of both kinds: {int(learnt.sum())} to learn on, {int((~learnt).sum())} held out")
    with ThreadPoolExecutor(num_workers) as pool:
        features = np.array(list(pool.map(_features_of_recipe, recipes)))
    composite, natural, untouched = features[:, 0], features[:, 1], features[:, 2]
    return {
        name: probe_auc((other[learnt], composite[learnt]), (other[~learnt], composite[~learnt]), seed=seed)
        for name, other in (("natural", natural), ("untouched", untouched))
    }


def _features_of_recipe(recipe: Mapping[str, Any]) -> Float32[np.ndarray, "3 F"]:
    rendered = render_recipe(recipe)
    images = [
        (rendered.sample.composite, rendered.sample.mask), (rendered.sample.natural, rendered.natural_mask),
        (rendered.untouched, rendered.untouched_mask),
    ]
    stored = [(decode_image(encode_jpeg(image, recipe["jpeg_quality"]), name=recipe["key"]), matte) for image, matte in images]
    features: np.ndarray = np.stack([border_features(image, matte) for image, matte in stored])
    return features
