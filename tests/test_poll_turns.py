"""Which pictures a poll shows, and in which order: laws of tasks/poll/turns.py."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from attune.images import encode_jpeg, encode_png
from tasks.poll.turns import MASKS, Poll, next_comparison, picture_token, read_poll
from tasks.poll.votes import Vote

RATERS = [f"{number:032x}" for number in range(1, 5)]


def write_poll(folder: Path, methods: tuple[str, ...] = ("composite", "ours", "theirs"), images: int = 5) -> Path:
    for shift, method in enumerate(methods):
        (folder / method).mkdir(parents=True)
        for number in range(images):
            picture = np.full((24, 32, 3), 40 * shift + number, np.uint8)
            (folder / method / f"image_{number}.png").write_bytes(encode_png(picture))
    return folder


@pytest.fixture
def poll(tmp_path: Path) -> Poll:
    return read_poll(write_poll(tmp_path / "pictures"))


def vote_on(poll: Poll, raters: list[str], each: int) -> list[Vote]:
    """The raters take turns; each votes on what it is shown."""
    votes: list[Vote] = []
    for turn in range(each * len(raters)):
        rater = raters[turn % len(raters)]
        shown = next_comparison(poll, rater, votes, seed=1)
        if shown is not None:
            votes.append(Vote(poll=poll.digest, rater=rater, choice="left", milliseconds=500, **vars(shown)))
    return votes


def test_every_rater_compares_everything_once_and_is_then_done(poll: Poll) -> None:
    votes = vote_on(poll, RATERS[:2], each=20)
    for rater in RATERS[:2]:
        assert sorted(vote.comparison for vote in votes if vote.rater == rater) == sorted(poll.comparisons)
        assert next_comparison(poll, rater, votes, seed=1) is None
    assert len(poll.comparisons) == 5 * 3


@pytest.mark.parametrize("each", [1, 4, 7, 11])
def test_comparisons_are_drawn_evenly_however_many_votes_there_are(poll: Poll, each: int) -> None:
    votes = vote_on(poll, RATERS, each)
    counts = Counter(vote.comparison for vote in votes)
    assert max(counts.values()) - min(counts.get(comparison, 0) for comparison in poll.comparisons) <= 1
    pairs = Counter(vote.comparison[1:] for vote in votes)
    if each > 1:
        assert max(pairs.values()) - min(pairs.values()) <= len(RATERS)


def test_a_rater_alone_sees_pairs_of_methods_and_images_by_turns(poll: Poll) -> None:
    votes = vote_on(poll, RATERS[:1], each=9)
    pairs, images = Counter(vote.comparison[1:] for vote in votes), Counter(vote.image for vote in votes)
    assert [pairs[pair] for pair in combinations(poll.methods, 2)] == [3, 3, 3]
    assert max(images.values()) - min(images.values()) <= 1


def test_order_and_sides_differ_by_rater_and_stay_as_they_are_on_reload(poll: Poll) -> None:
    orders = [[(vote.image, vote.left, vote.right) for vote in vote_on(poll, [rater], 15)] for rater in RATERS]
    assert len({tuple(order) for order in orders}) == len(RATERS)
    assert orders[0] == [(vote.image, vote.left, vote.right) for vote in vote_on(poll, RATERS[:1], 15)]


def test_sides_are_by_lot(tmp_path: Path) -> None:
    poll = read_poll(write_poll(tmp_path / "many", ("a", "b"), images=60))
    lefts = [vote.left == "a" for rater in RATERS for vote in vote_on(poll, [rater], 60)]
    assert abs(sum(lefts) - 120) < 4 * np.sqrt(240 / 4), "four standard deviations of a fair coin"


def test_tokens_tell_pictures_apart_and_methods_not(poll: Poll) -> None:
    tokens = {picture_token(poll, method, image) for method in (*poll.methods, MASKS) for image in poll.images}
    assert len(tokens) == 4 * 5
    assert not any(method in token for token in tokens for method in poll.methods)


def test_the_digest_is_of_the_pictures_and_not_of_the_masks(tmp_path: Path) -> None:
    folder = write_poll(tmp_path / "pictures")
    before = read_poll(folder)
    (folder / MASKS).mkdir()
    (folder / MASKS / "image_0.png").write_bytes(encode_png(np.zeros((24, 32), np.uint8)))
    masked = read_poll(folder)
    assert masked.digest == before.digest
    assert masked.methods == before.methods == ("composite", "ours", "theirs")
    assert set(masked.masks) == {"image_0"}
    (folder / "ours" / "image_3.png").write_bytes(encode_png(np.full((24, 32, 3), 9, np.uint8)))
    assert read_poll(folder).digest != before.digest


def spoil_missing(folder: Path) -> None:
    (folder / "ours" / "image_2.png").unlink()


def spoil_size(folder: Path) -> None:
    (folder / "ours" / "image_2.png").write_bytes(encode_png(np.zeros((24, 33, 3), np.uint8)))


def spoil_twice(folder: Path) -> None:
    (folder / "ours" / "image_2.jpg").write_bytes(encode_jpeg(np.zeros((24, 32, 3), np.uint8), 90))


def spoil_bytes(folder: Path) -> None:
    (folder / "ours" / "image_2.png").write_bytes(b"<svg onload='alert(1)'/>")


def spoil_name(folder: Path) -> None:
    (folder / "ours").rename(folder / "ours <b>")


def spoil_alone(folder: Path) -> None:
    for method in ("ours", "theirs"):
        for path in (folder / method).iterdir():
            path.unlink()
        (folder / method).rmdir()


@pytest.mark.parametrize(("spoil", "said"), [
    (spoil_missing, "ours: 1 of 5 images are missing, 'image_2' first"), (spoil_size, "'image_2' differ in size: .*ours 33x24"),
    (spoil_twice, "image_2.jpg and image_2.png are two pictures"), (spoil_bytes, "image_2.png: not a picture"),
    (spoil_name, "a method's name is"), (spoil_alone, "two methods or more are needed, a folder each; there are: composite"),
])
def test_folders_that_are_no_poll_are_named(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    folder = write_poll(tmp_path / "pictures")
    spoil(folder)
    with pytest.raises(ValueError, match=said):
        read_poll(folder)
