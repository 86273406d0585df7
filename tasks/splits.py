"""Which of train, val and test a source photograph belongs to: by hash of its group, so that adding data moves nothing."""

from collections.abc import Iterable

from tasks.seeds import derive_seed

SPLITS = ("train", "val", "test")
_FULL_RANGE = 1 << 63


def choose_split(group: str, *, val_share: float, test_share: float) -> str:
    """train, val or test for `group`: the same on any machine, whatever else is there, and whatever `seed` is.

    Independent of the params' seed, so that an experiment with another seed is measured on the same photographs.
    Raises ValueError if the two shares leave nothing to train on.
    """
    if val_share + test_share >= 1.0:
        raise ValueError(f"ingest.val_share ({val_share:g}) and ingest.test_share ({test_share:g}) must sum to less than 1")
    position = split_position(group)
    if position < test_share:
        return "test"
    return "val" if position < test_share + val_share else "train"


def split_position(group: str) -> float:
    """Where `group` lies in [0, 1) by its hash: test lies lowest, then val, then train."""
    return derive_seed(0, "split", group) / _FULL_RANGE


def check_groups(members: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """The split of each group; ValueError if one stands in two. `members`: (group, split, key) of every sample of every table."""
    seen: dict[str, tuple[str, str]] = {}
    for group, split, key in members:
        first_split, first_key = seen.setdefault(group, (split, key))
        if first_split != split:
            raise ValueError(
                f"group {group!r} stands in two splits: {first_key!r} in {first_split}, {key!r} in {split}; all samples of one "
                "source photograph must share a split"
            )
    return {group: split for group, (split, _) in seen.items()}
