"""Witnesses of tasks.evaluation.provenance: hashes are those of the files, values those of the params."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tasks.evaluation.provenance import describe_provenance
from tasks.params import Params


def test_what_a_report_rests_on_is_named(project: Path, configure: Callable[..., Params]) -> None:
    params = configure({"seed": 7})
    params.paths.harmonizer.mkdir(parents=True)
    (params.paths.harmonizer / "model.pt").write_bytes(b"weights")
    (params.paths.harmonizer / "config.json").write_text(json.dumps({
        "kind": "harmonizer", "config": {"width": 8, "shading": "symmetric"}, "about": {"step": 3, "params": {"lr": 0.001}},
    }))
    found = describe_provenance(params, {"git commit": "0a1b"})
    assert found["Code"]["git commit"] == "0a1b"
    assert found["Code"]["numpy"] == version("numpy")
    assert found["Model"]["weights, sha256"] == hashlib.sha256(b"weights").hexdigest()[:16]
    told = {"config.shading": "symmetric", "config.width": "8", "training.step": "3", "training.params.lr": "0.001"}
    assert told.items() <= found["Model"].items()
    assert found["Values"]["seed"] == "7"
    assert found["Data"] == {}
    params.paths.index.mkdir(parents=True)
    (params.paths.index / "manifest.json").write_text(json.dumps({"tables": {"pairs": {"rows": 12, "sha256": "ab" * 32}}}))
    assert describe_provenance(params, {})["Data"] == {"pairs": "12 rows, sha256 abababababababab"}
    assert "git commit" not in describe_provenance(params, {})["Code"]
