import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.files import write_bytes
from attune.images import decode_image, encode_png
from flows import mine


class Run:
    """Stands in for an MLflow run."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def artifact(self, path: Path) -> None:
        self.kept.append(path.name)


def test_plots_and_sheets_stay_with_the_run_and_each_sheet_opens_from_its_prefect_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, str] = {}
    monkeypatch.setattr(mine, "create_image_artifact", lambda url, *, key, **_: shown.update({key: url}))
    levels = {"sheet_easy.png": 60, "sheet_hard.png": 200, "gap.png": 10}
    for name, level in levels.items():
        write_bytes(tmp_path / name, encode_png(np.full((16, 24, 3), level, np.uint8)))
    run: Any = Run()
    mine.show_pictures(run, tmp_path)
    assert run.kept == sorted(levels)
    assert set(shown) == {"sheet-easy", "sheet-hard"}
    for key, url in shown.items():
        kind, _, data = url.partition(",")
        assert kind == "data:image/jpeg;base64"
        image = decode_image(base64.b64decode(data), name=key)
        assert image.shape == (16, 24, 3)
        assert abs(int(image.mean()) - levels[f"{key.replace('-', '_')}.png"]) <= 1
