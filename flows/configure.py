"""Lay a profile over params.yaml, keeping its comments: `python -m flows.configure photos --raw ~/pictures`.

profiles/starter.yaml holds the default's value of each key that any other profile sets. It is laid first, so that profiles do not add up
and a value that you changed yourself, and that no profile speaks of, stays.
"""

import argparse
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.files import written_atomically
from flows.console import console, faults_as_lines
from tasks.params import load_params

PARAMS = Path("params.yaml")
PROFILES = Path("profiles")
STARTER = "starter"
REPLACED = ("evaluate.benchmarks",)  # names, not settings: a profile's mapping is the whole mapping


def configure(profile: str, raw: str | None = None, *, params: Path = PARAMS, profiles: Path = PROFILES) -> list[str]:
    """Lay the starter's values, those of `profile` and the folder `raw` over `params`; the keys that a profile or `raw` has set.

    Raises ValueError, and leaves the file as it was, if the profile, one of its keys or the folder does not exist, or the result is
    not valid.
    """
    if not params.is_file():
        raise ValueError(f"{params}: no such file; run from the project's root")
    values = _yaml().load(params.read_text())
    lay_over(values, read_profile(STARTER, profiles))
    changed = lay_over(values, read_profile(profile, profiles)) if profile != STARTER else []
    if raw:
        if not Path(raw).expanduser().is_dir():
            raise ValueError(f"RAW={raw}: no such folder")
        changed += lay_over(values, {"paths": {"raw": os.fspath(Path(raw).expanduser())}})
    text = io.StringIO()
    _yaml().dump(values, text)
    with written_atomically(params) as temporary:
        temporary.write_text(text.getvalue())
        load_params(temporary)
    return changed


def read_profile(name: str, folder: Path = PROFILES) -> dict[str, Any]:
    """The values of the profile `name`. Raises ValueError naming the profiles there are."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ValueError(f"PROFILE={name}: no such profile; there are: {known}")
    try:
        values = _yaml().load(path.read_text())
    except YAMLError as error:
        raise ValueError(f"{path}: not YAML ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a mapping of sections")
    return values


def lay_over(values: Any, changes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Put `changes` into the nested mapping `values`, in place; the dotted keys that now have another value.

    Raises ValueError naming a key that `values` does not have.
    """
    changed = []
    for key, new in changes.items():
        name = f"{prefix}{key}"
        if key not in values:
            raise ValueError(f"{name}: no such key in params.yaml")
        if isinstance(new, Mapping) and isinstance(values[key], Mapping) and name not in REPLACED:
            changed += lay_over(values[key], new, f"{name}.")
        elif values[key] != new:
            values[key] = new
            changed.append(name)
    return changed


def _yaml() -> YAML:
    yaml = YAML()  # round trip: comments, order and quotes stay
    yaml.width = 4096
    yaml.preserve_quotes = True
    return yaml


def main() -> None:
    """The command `python -m flows.configure`."""
    parser = argparse.ArgumentParser(description="Lay a profile over params.yaml.")
    parser.add_argument("profile", help=f"a file of {PROFILES}/ without its ending; {STARTER} is the default")
    parser.add_argument("--raw", help="the folder with your photographs: becomes paths.raw")
    arguments = parser.parse_args()
    with faults_as_lines("configure"):
        changed = configure(arguments.profile, arguments.raw)
        console.print(f"params.yaml has the profile {arguments.profile}. Not as the starter's: {', '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    main()
