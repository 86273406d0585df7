"""Attune gives an object that was pasted into a photograph the light and colour of its new background.

    import attune

    fitted = attune.harmonize("pasted.png", "mask.png")     # a path, bytes, a Pillow image or an array: the same kind comes back

    model = attune.load()
    edit = model.predict("pasted.png", "mask.png")
    fitted = attune.apply(edit.scaled(0.7), "pasted.png", "mask.png")
    edit.save("edit.json")
    edit = attune.read_edit("edit.json")

Importing this package loads nothing else; what does the work is imported where one of these names is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attune.api import Edit, Model, apply, harmonize, load, read_edit

__all__ = ["Edit", "Model", "apply", "harmonize", "load", "read_edit"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'attune' has no attribute {name!r}")
    from attune import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
