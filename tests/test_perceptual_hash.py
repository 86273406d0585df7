"""The perceptual hash: ImageHash's own bits, the same for copies, other for other photographs."""

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attune.images import decode_grey, decode_image, encode_jpeg, resize_image
from tasks.ingestion.perceptual_hash import NUM_BITS, SAMPLES, SIDE, hash_distance, hash_square, perceptual_hash


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_square_has_the_bits_of_the_imagehash_library(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (5, 5)).astype(np.float32)
    smooth = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    square = np.clip(smooth + rng.normal(0, 4, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    theirs = imagehash.phash(Image.fromarray(square))  # 32 px are its own working size: it resizes nothing
    assert f"{hash_square(square):016x}" == str(theirs)


def test_a_copy_of_any_size_quality_and_brightness_is_near_and_another_photograph_is_far(photograph):
    image = photograph(240, 320, 8)
    copies = [
        resize_image(image, 120, 160), resize_image(image, 90, 130),
        decode_image(encode_jpeg(image, 60), name="copy"), np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8),
    ]
    own = perceptual_hash(grey(image))
    assert max(hash_distance(own, perceptual_hash(grey(copy))) for copy in copies) <= 8  # the default ingest.max_hash_distance
    assert min(hash_distance(own, perceptual_hash(grey(photograph(240, 320, seed)))) for seed in range(9, 19)) > 12


@pytest.mark.parametrize("size", [(300, 400), (700, 500), (1600, 1200)])
def test_a_photograph_decoded_at_a_fraction_has_nearly_the_hash_of_the_whole(size):
    coarse = np.random.default_rng(1).uniform(60, 190, (10, 10, 3))  # detail in all the frequencies that a hash looks at
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).round().astype(np.uint8)
    small, _ = decode_grey(encode_jpeg(image, 90), SAMPLES, name="x")
    assert small.size < image.size / 3 / 1.5
    assert hash_distance(perceptual_hash(small), perceptual_hash(grey(image))) <= 4


def test_half_the_bits_are_set_and_a_flat_picture_has_a_hash_too(photograph):
    assert perceptual_hash(grey(photograph(64, 80, 3))).bit_count() == pytest.approx(NUM_BITS // 2, abs=1)
    assert perceptual_hash(np.full((48, 99), 77, np.uint8)) == perceptual_hash(np.full((200, 300), 200, np.uint8)) == 1 << 63
    assert perceptual_hash(np.zeros((60, 60), np.uint8)) == 0


@given(first=st.integers(0, 2**64 - 1), second=st.integers(0, 2**64 - 1), third=st.integers(0, 2**64 - 1))
def test_the_distance_is_a_metric(first, second, third):
    assert hash_distance(first, second) == bin(first ^ second).count("1") == hash_distance(second, first)
    assert (hash_distance(first, second) == 0) == (first == second)
    assert hash_distance(first, third) <= hash_distance(first, second) + hash_distance(second, third)
