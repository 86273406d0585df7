"""One photograph under several names: the stated rule for its side of the split, and that no growth of the data moves it needlessly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingestion.leaks import KEPT, LEFT_OUT, MOVED, STRENGTH, SourcePhotograph, audit_rows, count_leaks, place_photographs
from tasks.splits import choose_split

SHARES = {"val_share": 0.2, "test_share": 0.2}


def photograph(name: str, *, side: int = 100, split: str | None = None, phash: int = 0) -> SourcePhotograph:
    return SourcePhotograph(
        name=name, source="photos", subset="photos", named_split=split, path=f"{name}.jpg", width=side, height=side, phash=phash,
    )


def named_by_hash(split: str, count: int = 1) -> list[str]:
    """Names whose own hash says `split`."""
    names = (f"name-{number}" for number in range(10_000))
    return [name for name in names if choose_split(name, **SHARES) == split][:count]


def place(*members: SourcePhotograph):
    return place_photographs(members, np.zeros(len(members), np.int32), **SHARES)


def test_whoever_is_alone_stands_where_its_source_or_its_hash_says():
    ones = [photograph(f"n{number}") for number in range(30)] + [photograph(f"v{number}", split="val") for number in range(3)]
    placed = place_photographs(ones, np.arange(len(ones), dtype=np.int32), **SHARES)
    assert [one.split for one in placed[:30]] == [choose_split(f"n{number}", **SHARES) for number in range(30)]
    assert all(one.split == "val" for one in placed[30:])
    assert [one.group for one in placed] == [one.name for one in ones]
    assert list(audit_rows(ones, placed)) == []


def test_a_photograph_of_an_evaluation_set_is_left_out_of_a_list_of_training_photographs_and_draws_the_unnamed():
    (free,) = named_by_hash("train")
    named = photograph("benchmark/1", split="test", side=10), photograph("list/7", split="train", side=900)
    placed = place(*named, photograph(free, side=500))
    assert [one.split for one in placed] == ["test"] * 3
    assert [one.action for one in placed] == [KEPT, LEFT_OUT, MOVED]


def test_no_list_of_an_evaluation_set_is_enlarged_by_anothers():
    placed = place(photograph("a", split="test"), photograph("b", split="val"), photograph("c", split="test"))
    assert [one.action for one in placed] == [KEPT, LEFT_OUT, KEPT]


def test_a_named_side_holds_against_any_hash():
    (free,) = named_by_hash("test")
    placed = place(photograph("list/7", split="train", side=10), photograph(free, side=900))
    assert [(one.split, one.action) for one in placed] == [("train", KEPT), ("train", MOVED)]


members = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 500), st.sampled_from([None, None, "train", "val", "test"])),
    min_size=1, max_size=6, unique_by=lambda one: one[0],
)


@given(group=members)
def test_no_group_trains_on_what_it_is_measured_on(group):
    ones = [photograph(f"p{number}", side=side, split=split) for number, side, split in group]
    placed = place(*ones)
    sides = {one.split for one in placed}
    assert len(sides) == len({one.group for one in placed}) == 1
    (side,) = sides
    for one, placement in zip(ones, placed, strict=True):
        if placement.action != LEFT_OUT:
            assert one.named_split in (None, side)
        else:
            assert STRENGTH.index(side) < STRENGTH.index(one.named_split)


@given(group=members, newcomer=st.integers(10**6 + 1, 2 * 10**6), data=st.data())
@settings(max_examples=200)
def test_a_newcomer_that_is_smaller_and_unnamed_moves_nobody(group, newcomer, data):
    ones = [photograph(f"p{number}", side=side, split=split) for number, side, split in group]
    largest = max(side for _, side, _ in group)
    before = place(*ones)
    after = place(*ones, photograph(f"p{newcomer}", side=data.draw(st.integers(1, max(1, largest - 1)))))
    if largest > 1:
        assert after[:-1] == before


def test_of_equally_large_ones_the_evaluation_side_is_kept():
    (held,), (free,) = named_by_hash("test"), named_by_hash("train")
    assert {one.split for one in place(photograph(held))} == {"test"}
    assert {one.split for one in place(photograph(held), photograph(free))} == {"test"}


@given(group=members, seed=st.randoms(use_true_random=False))
def test_the_order_of_names_decides_nothing(group, seed):
    ones = [photograph(f"p{number}", side=side, split=split) for number, side, split in group]
    shuffled = ones[:]
    seed.shuffle(shuffled)
    first = dict(zip([one.name for one in ones], place(*ones), strict=True))
    second = dict(zip([one.name for one in shuffled], place(*shuffled), strict=True))
    assert first == second


def test_the_audit_says_what_was_found_and_what_was_done():
    (free,) = named_by_hash("train")
    ones = [
        photograph("list/7", split="train", phash=0b0111, side=300), photograph("benchmark/1", split="test"),
        photograph(free, phash=0b1), photograph("alone"),
    ]
    placed = place_photographs(ones, np.array([0, 0, 0, 3], np.int32), **SHARES)
    rows = list(audit_rows(ones, placed))
    assert [(row["key"], row["distance"], row["named_split"], row["own_split"], row["split"], row["action"]) for row in rows] == [
        ("list/7", 0, "train", "train", "test", LEFT_OUT), ("benchmark/1", 3, "test", "test", "test", KEPT),
        (free, 2, None, "train", "test", MOVED),
    ]
    assert {row["group"] for row in rows} == {"list/7"}
    assert count_leaks(rows) == {
        "duplicate_groups": 1.0, "duplicate_photographs": 3.0, "leaks_found": 2.0, "leaks_moved": 1.0, "leaks_left_out": 1.0,
    }
