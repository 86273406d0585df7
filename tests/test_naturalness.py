import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import shape_of
from skimage.color import deltaE_cie76, deltaE_ciede2000, rgb2lab

from attune.images import encode_png
from models.harmonizer import Harmonizer, ParametricHarmonizer, build_harmonizer
from models.small import SmallCurveNet
from tasks.evaluation.baselines import do_nothing, lab_shift
from tasks.evaluation.methods import Methods
from tasks.evaluation.naturalness import (
    Naturalness,
    as_json,
    measure_naturalness,
    photographs_changed,
)
from tasks.evaluation.naturalness_findings import naturalness_findings
from tasks.index import COMPOSITES, PAIRS, PHOTOGRAPHS, write_table
from tasks.params import Params

Configure = Callable[..., Params]
Draw = Callable[[int, int, int], np.ndarray]


def brighten(composite: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ten grey levels more inside the mask."""
    return np.where(mask[..., None] > 0, composite + 10, composite).astype(np.uint8)


METHODS = Methods({"composite": do_nothing, "nothing": do_nothing, "brighten": brighten, "lab_shift": lab_shift}, {}, {})


def row(number: int, split: str, **changes: object) -> dict[str, object]:
    """An index row of file `number`."""
    return {
        "key": f"k{number:03d}", "source": "photos", "subset": "s", "split": split, "group": f"g{number:03d}",
        "mask_path": "files/mask.png", "width": 64, "height": 64, "fg_ratio": 0.2, "label": "car" if number % 2 else "tree", **changes,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, photograph: Draw, object_mask: Callable[..., np.ndarray]) -> Path:
    """A project of 30 training and 25 test photographs, and of 24 real composites whose objects are 60 levels too dark."""
    folder, mask = tmp_path_factory.mktemp("project"), object_mask(64, 64)
    (folder / "files").mkdir()
    (folder / "files/mask.png").write_bytes(encode_png(mask))
    for number in range(79):
        picture = photograph(64, 64, number)
        if number >= 55:
            picture = np.where(mask[..., None] > 0, np.maximum(picture, 60) - 60, picture).astype(np.uint8)
        (folder / f"files/{number:03d}.png").write_bytes(encode_png(picture))
    photographs = [row(number, "train" if number < 30 else "test", image_path=f"files/{number:03d}.png") for number in range(55)]
    composites = [row(number, "test", composite_path=f"files/{number:03d}.png") for number in range(55, 79)]
    write_table(folder / "data/index/photographs.parquet", photographs, PHOTOGRAPHS)
    write_table(folder / "data/index/composites.parquet", composites, COMPOSITES)
    return folder


@pytest.fixture(scope="module")
def found(root: Path, configure: Configure) -> Naturalness:
    """What is measured there of METHODS."""
    with contextlib.chdir(root):
        return measure_naturalness(configure(), METHODS)


@pytest.fixture
def project_copy(root: Path, project: Path) -> Path:
    """The same project, to change."""
    return Path(shutil.copytree(root, project, dirs_exist_ok=True))


def test_methods_that_do_nothing_gain_nothing_and_spoil_nothing(found: Naturalness) -> None:
    assert found.natural_photographs["nothing"].delta_e == found.natural_photographs["nothing"].share_visible == 0.0
    assert "composite" not in found.natural_photographs
    assert found.real_composites["nothing"] == found.real_composites["composite"]
    assert found.real_composites["nothing"].gain == 0.0
    assert found.skipped == {}


def test_a_known_change_is_measured_as_by_hand(found: Naturalness) -> None:
    brightened = found.natural_photographs["brighten"]
    assert brightened.fmse == pytest.approx(100.0)
    assert brightened.num_images == 25
    assert brightened.low <= brightened.delta_e <= brightened.high
    greys = np.stack([np.full((1, 1, 3), level, np.uint8) for level in range(60, 190, 10)])
    apart = deltaE_ciede2000(rgb2lab(greys), rgb2lab(greys + 10))
    assert apart.min() < brightened.delta_e < apart.max()
    assert brightened.share_visible == brightened.share_noticed == 1.0
    apart = deltaE_cie76(rgb2lab(greys), rgb2lab(greys + 10))
    assert apart.min() < brightened.median_cie76_low <= brightened.median_cie76 <= brightened.median_cie76_high < apart.max()


def test_brighter_objects_have_lifted_blacks_and_no_dulled_whites(found: Naturalness) -> None:
    haze, untouched = (found.natural_photographs[name].haze for name in ("brighten", "nothing"))
    assert haze is not None
    assert untouched is not None
    assert haze.black_after - haze.black_before == pytest.approx(10.0, abs=1e-3)
    assert haze.lifted > untouched.lifted == untouched.dulled == haze.dulled == 0.0


SMALL = shape_of(num_knots=4, shading_limit=1.5, encode_curves=False)


def harmonizer() -> Harmonizer:
    """A network that brightens whatever it sees."""
    torch.manual_seed(0)
    model = build_harmonizer(SMALL)
    assert isinstance(model, ParametricHarmonizer)
    assert isinstance(model.curve_net, SmallCurveNet)
    torch.nn.init.constant_(model.curve_net.head.bias, 0.05)
    return model.eval()


def test_one_harmonizers_change_is_the_one_that_the_stage_tells(
    project_copy: Path, configure: Configure, found: Naturalness
) -> None:
    model = harmonizer()
    alone = photographs_changed(configure(), model)
    assert alone is not None
    assert alone.fmse > 1.0
    told = measure_naturalness(configure(), Methods({"composite": do_nothing}, {}, {"harmonized": model}))
    assert alone == told.natural_photographs["harmonized"]


def test_where_no_photograph_is_indexed_the_pairs_targets_are_left_alone_too(project_copy: Path, configure: Configure) -> None:
    before = photographs_changed(configure(), harmonizer())
    targets = [
        row(number, "test", composite_path="files/nothing.png", target_path=f"files/{number:03d}.png") for number in range(30, 55)
    ]
    again = [{**one, "key": f"{one['key']}_b"} for one in targets]
    write_table(Path("data/index/photographs.parquet"), [], PHOTOGRAPHS)
    write_table(Path("data/index/pairs.parquet"), [*targets, *again], PAIRS)
    after = photographs_changed(configure(), harmonizer())
    assert before is not None
    assert after is not None
    assert (after.fmse, after.num_images) == (pytest.approx(before.fmse), 25), "each target once"


def test_a_model_that_takes_a_plate_and_too_few_photographs_tell_nothing(project_copy: Path, configure: Configure) -> None:
    assert photographs_changed(configure({"evaluate.naturalness_images": 5}), harmonizer()) is None
    assert photographs_changed(configure(), build_harmonizer(dataclasses.replace(SMALL, plate=True))) is None


def test_the_probe_sees_dark_objects_and_that_a_method_lifts_them(found: Naturalness) -> None:
    probe = found.probe
    assert probe is not None
    assert probe.auc > 0.8
    assert probe.low <= probe.auc <= probe.high
    assert (probe.composites, probe.num_training, probe.num_natural, probe.num_composites) == ("brought", 30, 25, 24)
    assert found.real_composites["composite"].high < 0
    assert found.real_composites["lab_shift"].gain_low > 0


def test_equal_inputs_give_equal_numbers(project_copy: Path, configure: Configure, found: Naturalness) -> None:
    assert measure_naturalness(configure(), METHODS) == found


def test_natural_photographs_are_of_the_composites_kinds_where_there_are_enough(project_copy: Path, configure: Configure) -> None:
    photographs = [
        row(number, "train" if number < 30 else "test", image_path=f"files/{number:03d}.png", label="car" if number >= 34 else "sky")
        for number in range(55)
    ]
    write_table(Path("data/index/photographs.parquet"), photographs, PHOTOGRAPHS)
    probe = measure_naturalness(configure(), Methods({"composite": do_nothing}, {}, {})).probe
    assert probe is not None
    assert probe.num_natural == 21, "no sky: no composite has one"


def test_what_cannot_be_measured_is_said_and_not_invented(project_copy: Path, configure: Configure) -> None:
    write_table(Path("data/index/composites.parquet"), [], COMPOSITES)
    found = measure_naturalness(configure(), Methods({"composite": do_nothing, "brighten": brighten}, {}, {}))
    assert found.probe is None
    assert found.real_composites == {}
    assert found.skipped == {"real_composites": "0 usable real composites, at least 20 are needed"}
    assert set(naturalness_findings(as_json(found))) == {"natural_photographs"}
    few = measure_naturalness(configure({"evaluate.naturalness_images": 5}), Methods({"composite": do_nothing}, {}, {}))
    assert set(few.skipped) == {"real_composites", "natural_photographs"}
    assert naturalness_findings(as_json(few)) == {}


def test_the_json_holds_every_field_and_the_findings_their_figures(found: Naturalness) -> None:
    again = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert set(again) == set(Naturalness.__dataclass_fields__)
    assert again["natural_photographs"]["brighten"]["fmse"] == 100.0
    findings = naturalness_findings(as_json(found))
    assert set(findings) == {"realism_probe", "natural_photographs"}
    assert "brighten 100%" in findings["natural_photographs"].note
    assert {each.name: each.value for each in findings["realism_probe"].estimates} == {
        name: pytest.approx(scored.score, rel=1e-5) for name, scored in found.real_composites.items()
    }
