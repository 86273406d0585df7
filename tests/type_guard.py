"""The annotations of the project, checked whenever a test calls what they stand on.

Every function and dataclass of `CHECKED` is wrapped as it is imported: shapes and element types by jaxtyping, the rest by beartype.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import config, install_import_hook

CHECKED = ("models",)
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int is a float, as it is for mypy


def install() -> None:
    """Check whatever of the project is imported from here on."""
    install_import_hook(list(CHECKED), CHECKER)


@contextmanager
def lifted() -> Iterator[None]:
    """Nothing is checked while this is open."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
