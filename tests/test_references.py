"""References: evenly drawn, of another photograph, and a new one changes its own share of the draws and no other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingestion.references import NUM_SHELVES, SHELF_REFERENCES, Reference, mix, read_references, shelf_of, write_references
from tasks.sources.candidates import PhotographCandidate


def candidate(name: str, **changes) -> PhotographCandidate:
    plain = PhotographCandidate(
        key=name, source="photos", subset="photos", split="train", group=name, image_path=name, mask_path=name, label="", licence="",
    )
    return replace(plain, **changes)


@pytest.fixture
def references(tmp_path):
    """`references(candidates)`: what may be drawn from."""
    def made(candidates):
        path = tmp_path / f"{len(candidates)}.parquet"
        write_references(path, [Reference(one, f"identity of {one.key}") for one in candidates])
        return read_references(path, 1)

    return made


def test_draws_are_of_the_split_of_the_label_where_it_has_one_and_never_of_the_own_group(references):
    pool = references([
        candidate("a", label="cat"), candidate("b", label="cat"), candidate("c", label="dog"), candidate("d", split="test", label="cat"),
        candidate("twin", label="cat", group="a"),
    ])

    def drawn(one: PhotographCandidate) -> set[str]:
        return {found.candidate.key for number in range(60) if (found := pool.draw(one, 0, number))}

    assert drawn(candidate("a", label="cat")) == {"b"}
    assert drawn(candidate("c", label="dog")) == {"a", "b", "twin"}  # the only dog: any label will do
    assert drawn(candidate("new", label="bird")) == {"a", "b", "c", "twin"}
    assert drawn(candidate("d", split="test")) == set()
    assert pool.draw(candidate("a", label="cat"), 0, 1).identity == "identity of b"


def test_every_reference_of_a_shelf_is_as_likely_as_any_other(references):
    pool = references([candidate(f"p{number}") for number in range(12)])
    counts = np.zeros(12)
    for number in range(2400):
        counts[int(pool.draw(candidate("me"), 3, number, 0).candidate.key[1:])] += 1
    assert np.square(counts - 200).sum() / 200 < 31.3  # chi squared, 11 degrees of freedom: one in a thousand


def test_new_references_change_their_own_share_of_the_draws(references):
    many = [candidate(f"p{number:04d}") for number in range(400)]
    draws = [(shelf, number) for shelf in range(NUM_SHELVES) for number in range(10)]
    before, after = ([pool.draw(candidate(f"of {shelf}"), shelf, number).candidate.key for shelf, number in draws]
                     for pool in (references(many), references([*many, *(candidate(f"q{number}") for number in range(8))])))
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    share = 8 / 408
    assert len(changed) / len(draws) == pytest.approx(2 * share, abs=1.5 * share)  # onto a shelf, and off it
    assert len(set(before)) > 300  # shelves differ
    assert max(len({key for key, (shelf, _) in zip(before, draws, strict=True) if shelf == one}) for one in range(3)) <= SHELF_REFERENCES


def test_shelves_are_filled_evenly_and_named_alike_for_ever():
    shelves = [shelf_of(1, "photos", f"p{number}") for number in range(6400)]
    counts = np.bincount(shelves, minlength=NUM_SHELVES)
    assert counts.min() > 60
    assert counts.max() < 150
    assert shelf_of(1, "photos", "p0") == shelves[0]


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=20))
def test_mixing_keeps_different_values_different(values):
    assert len(set(mix(np.array(values, np.uint64)).tolist())) == len(values)


def test_mixing_is_splitmix64s():
    assert int(mix(np.array([0x9E3779B97F4A7C15], np.uint64))[0]) == 0xE220A8397B1DCDAF  # its first output for the seed 0
