"""Witnesses of tasks.evaluate: the do-nothing row against a computation by hand, a model right by construction, equal bytes."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from shapes import shape_of
from skimage.metrics import structural_similarity

from attune.images import encode_png
from models.harmonizer import HarmonizerConfig, build_harmonizer
from tasks.evaluate import evaluate, evaluate_harmonizer
from tasks.evaluation import leaderboard
from tasks.evaluation.measurements import CHANGES, Scored, per_image_schema, read_measurements, summarize
from tasks.evaluation.measuring import Measured, measure
from tasks.evaluation.methods import load_methods
from tasks.evaluation.metrics import FLAVOURS, score_flavours
from tasks.evaluation.protocols import read_example
from tasks.evaluation.report_cases import chosen_cases
from tasks.evaluation.standings import compare_with_others, leaderboards_for
from tasks.harmonizer_files import load_harmonizer, save_harmonizer
from tasks.index import COMPOSITES, PAIRS, TABLES, read_index, write_table
from tasks.params import Benchmark, Params
from tasks.report import make_report

Configure = Callable[..., Params]
CONFIG = shape_of(shading_limit=1.5)
AT_48 = {"source": "starter", "subset": "*", "size": 48, "resize": "pillow_bilinear"}


def save_pairs(folder: Path, count: int, *, side: int = 48, split: str = "test", plates: bool = False) -> None:
    """`count` pairs of the source starter, whose composite is the target with the foreground at 0.7 of its value, and their index."""
    rng = np.random.default_rng(4)
    rows = []
    for number in range(count):
        target = cv2.resize(rng.integers(60, 250, (8, 8, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((side, side), np.uint8)
        mask[8 : 20 + number % 20, 10:30] = 255
        composite = np.where(mask[..., None] > 0, np.rint(target * 0.7), target).astype(np.uint8)
        paths = {}
        for name, image in (("composite", composite), ("mask", mask), ("target", target)):
            paths[f"{name}_path"] = f"data/raw/{name}_{number}.png"
            (folder / "data/raw").mkdir(parents=True, exist_ok=True)
            (folder / paths[f"{name}_path"]).write_bytes(encode_png(image))
        rows.append({
            "key": f"pair_{number:02}", "source": "starter", "subset": "scenes" if number % 2 else "photographs", "split": split,
            "group": f"g{number}", **paths, "width": side, "height": side, "fg_ratio": float((mask > 0).mean()), "label": "thing",
            "plate_path": paths["target_path"] if plates else None,
            "method": "made", "composite_fmse": 1.0, "composite_sha256": "", "mask_sha256": "", "target_sha256": "",
        })
    write_table(folder / "data/index/pairs.parquet", rows, PAIRS)
    for name in ("photographs", "composites", "rejects", "duplicates"):
        write_table(folder / f"data/index/{name}.parquet", [], TABLES[name])


def save_model(folder: Path, *, gain: float = 1.0, config: HarmonizerConfig = CONFIG) -> None:
    """A harmonizer that multiplies every foreground by `gain`, whatever it sees; by 1 it is untrained."""
    torch.manual_seed(0)
    model = build_harmonizer(config)
    with torch.no_grad():
        gains = torch.tensor(gain).log() / torch.tensor(config.shading_limit).log()
        model.shading_net.head.bias.copy_(torch.atanh(gains).expand(1))  # type: ignore[union-attr, operator]
    save_harmonizer(folder, model, config, {})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks: more threads only wait for one another, for minutes where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def params(configure: Configure) -> Params:
    return configure({
        "evaluate.sheet_rows": 4, "evaluate.batch_size": 3, "evaluate.benchmarks": {"all": AT_48, "scenes": AT_48 | {"subset": "scenes"}},
    })


def silent(done: int, total: int) -> None:
    """No progress."""


def summarized(params: Params) -> dict[str, dict[str, Any]]:
    """The summary of the benchmark `all`, as `evaluate` has it, without the report."""
    found = measure(params, load_methods(params), FLAVOURS, silent)
    return summarize("all", found.scored["all"], found.num_images["all"], params.seed)


def test_the_metrics_have_the_agreed_form_and_the_measures_their_files(project: Path, params: Params) -> None:
    save_pairs(project, 8)
    save_model(params.paths.harmonizer, gain=1 / 0.7)
    steps: list[tuple[int, int]] = []
    result = evaluate(params, lambda done, total: steps.append((done, total)))
    assert steps == [(number, 12) for number in range(1, 13)]
    assert result == json.loads((params.paths.metrics / "evaluate.json").read_text())
    assert set(result) == {"all", "scenes"}
    assert list(result["all"]) == ["composite", "reinhard", "lab_shift", "monge_kantorovich", "harmonized"]
    for methods in result.values():
        for values in methods.values():
            assert {"mse", "fmse", "psnr", "ssim", "num_images"} <= set(values)
    assert result["all"]["composite"]["num_images"] == 8
    assert result["scenes"]["composite"]["num_images"] == 4
    assert {path.name for path in params.paths.measures.iterdir()} == {
        "appearance.parquet", "audit.json", "cases", "cases.json", "eye", "per_image.parquet", "provenance.json", "real_composites.parquet"
    }
    assert not params.paths.report.exists()


def test_doing_nothing_scores_as_computed_from_the_files_by_hand(project: Path, params: Params) -> None:
    save_pairs(project, 5)
    save_model(params.paths.harmonizer)
    found = summarized(params)
    fmse, mse = [], []
    for number in range(5):
        composite, target, mask = (
            np.asarray(Image.open(f"data/raw/{name}_{number}.png"), np.float64) for name in ("composite", "target", "mask")
        )
        error = (composite - target) ** 2
        fmse.append(error[mask > 0].mean())
        mse.append(error.mean())
    assert found["composite"]["fmse"] == pytest.approx(np.mean(fmse), rel=1e-5)
    assert found["composite"]["mse"] == pytest.approx(np.mean(mse), rel=1e-5)
    assert found["composite"]["psnr"] == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(mse))), rel=1e-5)
    assert found["composite"]["do_no_harm"] == 0.0


def test_a_model_that_undoes_the_change_wins_and_an_untrained_one_does_nothing(project: Path, params: Params) -> None:
    save_pairs(project, 6)
    save_model(params.paths.harmonizer)
    untrained = summarized(params)
    assert {name: untrained["harmonized"][name] for name in ("mse", "fmse", "psnr", "ssim", "bmse")} == {
        name: untrained["composite"][name] for name in ("mse", "fmse", "psnr", "ssim", "bmse")
    }
    save_model(params.paths.harmonizer, gain=1 / 0.7)
    right = summarized(params)
    assert right["harmonized"]["fmse"] < 0.5  # what rounding to 8 bit leaves
    assert right["harmonized"]["do_no_harm"] == 1.0
    assert right["harmonized"]["bmse"] == right["composite"]["bmse"] == 0.0
    assert right["composite"] == untrained["composite"]


def test_two_evaluations_leave_equal_bytes_and_no_foreign_files(project: Path, params: Params) -> None:
    save_pairs(project, 7)
    save_model(params.paths.harmonizer, gain=1.2)
    written = []
    for _ in range(2):
        for folder in (params.paths.measures, params.paths.report):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "left_over.png").write_bytes(b"old")
        evaluate(params, silent)
        make_report(params)
        files = [file for folder in (params.paths.measures, params.paths.report, params.paths.metrics) for file in folder.rglob("*")]
        written.append({path: path.read_bytes() for path in files if path.is_file()})
    assert written[0] == written[1]
    assert not any(path.name == "left_over.png" for path in written[0])


def test_the_table_per_image_holds_every_pair_method_and_flavour(project: Path, params: Params) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer, gain=1.2)
    result = evaluate(params, silent)
    table = pq.read_table(params.paths.measures / "per_image.parquet")
    assert table.schema.equals(per_image_schema())
    rows = table.to_pylist()
    assert len(rows) == (4 + 2) * 5 * 3
    mine = [row["fmse"] for row in rows if (row["benchmark"], row["method"], row["flavour"]) == ("all", "harmonized", "raw")]
    assert np.mean(mine) == pytest.approx(result["all"]["harmonized"]["fmse"], rel=1e-5)
    with open(params.paths.metrics / "plots" / "evaluate_scatter.csv") as handle:
        points = [point for point in csv.DictReader(handle) if point["benchmark"] == "all"]
    assert [float(point["harmonized_fmse"]) for point in points] == pytest.approx(mine, abs=0.01)
    with open(params.paths.metrics / "plots" / "evaluate_methods.csv") as handle:
        methods = ["composite", "reinhard", "lab_shift", "monge_kantorovich", "harmonized"]
        assert [bar["method"] for bar in csv.DictReader(handle)] == 2 * methods


def test_any_harmonizer_is_measured_as_the_stage_measures_its_own(project: Path, params: Params) -> None:
    save_pairs(project, 5)
    save_model(params.paths.harmonizer)
    save_model(project / "other", gain=1.2)
    other = evaluate_harmonizer(params, load_harmonizer(project / "other")[0])
    assert not params.paths.measures.exists()
    save_model(params.paths.harmonizer, gain=1.2)
    evaluate(params, silent)
    rows = other.to_pylist()
    assert other.schema.equals(per_image_schema())
    assert [(row["benchmark"], row["key"]) for row in rows] == [("all", f"pair_{n:02}") for n in range(5)] + [
        ("scenes", "pair_01"), ("scenes", "pair_03")
    ]
    written = read_measurements(params.paths.measures / "per_image.parquet").to_pylist()
    assert rows == [row for row in written if (row["method"], row["flavour"]) == ("harmonized", "raw")]
    assert [row["composite_fmse"] for row in rows] == [
        row["fmse"] for row in written if (row["method"], row["flavour"]) == ("composite", "raw")
    ]


def test_buckets_and_their_counts_add_up(project: Path, params: Params) -> None:
    save_pairs(project, 8)
    save_model(params.paths.harmonizer)
    values = summarized(params)["composite"]
    weighted = sum(bucket["fmse"] * bucket["num_images"] for bucket in values["buckets"].values())
    assert weighted / 8 == pytest.approx(values["fmse"], rel=1e-5)
    assert values["fmse_low"] <= values["fmse"] <= values["fmse_high"]
    weighted = sum(subset["psnr"] * subset["num_images"] for subset in values["subsets"].values())
    assert set(values["subsets"]) == {"photographs", "scenes"}
    assert weighted / 8 == pytest.approx(values["psnr"], rel=1e-5)


def test_pairs_whose_mask_vanishes_at_this_size_are_skipped_and_counted(project: Path, params: Params) -> None:
    save_pairs(project, 4)
    dot = np.zeros((48, 48), np.uint8)
    dot[3, 3] = 100
    (project / "data/raw/mask_2.png").write_bytes(encode_png(dot))
    save_model(params.paths.harmonizer)
    values = evaluate(params, silent)["all"]["composite"]
    assert (values["num_images"], values["num_skipped"]) == (3, 1)
    make_report(params)
    assert "1 skipped" in (params.paths.report / "summary.md").read_text()


def test_convention_pairs_are_squashed_by_pillows_bilinear_filter(project: Path) -> None:
    save_pairs(project, 1, side=60)
    row = {f"{name}_path": f"data/raw/{name}_0.png" for name in ("composite", "mask", "target")}
    example = read_example(row, Benchmark(source="starter", subset="*", size=32, resize="pillow_bilinear"), max_megapixels=1.0)
    for name in ("composite", "mask", "target"):
        wanted = Image.open(f"data/raw/{name}_0.png").resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(getattr(example, name), np.asarray(wanted))


def test_what_is_missing_is_named(project: Path, params: Params, configure: Configure) -> None:
    with pytest.raises(ValueError, match=r"config\.json: no trained harmonizer here; `dvc repro` makes it"):
        evaluate(params, silent)
    save_model(params.paths.harmonizer)
    with pytest.raises(ValueError, match=r"pairs\.parquet: no such table"):
        evaluate(params, silent)
    save_pairs(project, 4)
    other = configure({"evaluate.benchmarks": {"realhm": AT_48 | {"source": "iharmony4", "subset": "HCOCO"}}})
    with pytest.raises(ValueError, match=r"evaluate\.benchmarks\.realhm: no test images of source 'iharmony4'.*starter/scenes \(2\)"):
        evaluate(other, silent)
    with pytest.raises(ValueError, match=r"evaluate\.benchmarks is empty"):
        evaluate(configure({"evaluate.benchmarks": {}}), silent)
    (project / "data/raw/target_1.png").unlink()
    with pytest.raises(ValueError, match=r"target_1\.png: no such file"):
        evaluate(params, silent)
    save_pairs(project, 2, split="train")
    with pytest.raises(ValueError, match="there are: none at all"):
        evaluate(params, silent)


def test_a_failed_evaluation_leaves_the_last_measures_alone(project: Path, params: Params) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer)
    evaluate(params, silent)
    before = (params.paths.measures / "per_image.parquet").read_bytes()
    (project / "data/raw/target_3.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"target_3\.png"):
        evaluate(params, silent)
    assert (params.paths.measures / "per_image.parquet").read_bytes() == before


def test_a_model_that_needs_a_plate_is_refused(project: Path, params: Params) -> None:
    save_pairs(project, 2)
    save_model(params.paths.harmonizer, config=shape_of(shading_limit=1.5, plate=True))
    with pytest.raises(ValueError, match="needs clean backgrounds"):
        evaluate(params, silent)


@pytest.mark.parametrize(("num_pairs", "num_rows"), [(1, 10), (5, 10), (100, 10), (100, 3), (37, 1)])
def test_cases_are_distinct_ranked_and_seeded(num_pairs: int, num_rows: int) -> None:
    target = np.full((12, 12, 3), 100, np.uint8)
    mask = np.full((12, 12), 255, np.uint8)
    composite = score_flavours(target + np.uint8(50), target, mask)
    found = []
    for number in np.random.default_rng(0).permutation(num_pairs):
        better = score_flavours(target + np.uint8(number % 100), target, mask)
        found.append(Scored({"key": f"{number:03}"}, {"composite": composite, "harmonized": better}))
    cases = chosen_cases(found, num_rows, np.random.default_rng(1))
    assert len(cases) == min(num_rows, num_pairs)
    keys = [scored.row["key"] for _, scored in cases]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    assert keys == [scored.row["key"] for _, scored in chosen_cases(found, num_rows, np.random.default_rng(1))]
    if num_pairs == 100 and num_rows == 10:
        assert [label for label, _ in cases] == ["best tenth"] * 4 + ["middle tenth"] * 3 + ["worst tenth"] * 3
        assert max(keys[:4]) < "010"
        assert min(keys[-3:]) >= "090"


# --- Who takes part, and what is looked at ---


def measured(params: Params) -> Measured:
    return measure(params, load_methods(params), ("raw",), silent)


def means(found: Measured, name: str) -> dict[str, float]:
    return {method: float(np.mean([scored.fmse(method) for scored in found.scored[name]])) for method in found.scored[name][0].scores}


def test_a_folder_of_outputs_and_a_champion_take_part_beside_the_baselines(project: Path, params: Params, configure: Configure) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer)
    save_model(project / "best", gain=1 / 0.7)
    for folder in ("by_key", "by_name"):
        (project / folder).mkdir()
    for number in range(4):
        target = (project / f"data/raw/target_{number}.png").read_bytes()
        (project / "by_key" / f"pair_{number:02}.png").write_bytes(target)
        (project / "by_name" / f"composite_{number}.png").write_bytes(target)
    changes = {"evaluate.competitors": {"first": "by_key", "second": "by_name"}, "evaluate.champion": "best"}
    found = means(measured(configure({"evaluate.benchmarks": {"all": AT_48}, "evaluate.batch_size": 3, **changes})), "all")
    assert list(found) == ["composite", "reinhard", "lab_shift", "monge_kantorovich", "first", "second", "champion", "harmonized"]
    assert found["first"] == found["second"] == 0.0
    assert found["champion"] < 0.5
    assert found["harmonized"] == found["composite"]


def test_a_competitors_outputs_are_resized_by_the_benchmarks_own_convention(project: Path, params: Params, configure: Configure) -> None:
    save_pairs(project, 2)
    save_model(params.paths.harmonizer)
    (project / "theirs").mkdir()
    for number in range(2):
        (project / "theirs" / f"pair_{number:02}.png").write_bytes((project / f"data/raw/target_{number}.png").read_bytes())
    small = AT_48 | {"size": 32, "resize": "opencv_area"}
    found = measured(configure({"evaluate.benchmarks": {"all": small}, "evaluate.competitors": {"theirs": "theirs"}}))
    assert means(found, "all")["theirs"] == 0.0


def test_a_competitor_without_outputs_is_left_out_and_half_a_one_refused(project: Path, params: Params, configure: Configure) -> None:
    save_pairs(project, 3)
    save_model(params.paths.harmonizer)
    (project / "theirs").mkdir()
    changed = configure({"evaluate.benchmarks": {"all": AT_48}, "evaluate.competitors": {"theirs": "theirs"}})
    assert "theirs" not in means(measured(changed), "all")
    (project / "theirs/pair_01.png").write_bytes((project / "data/raw/target_1.png").read_bytes())
    with pytest.raises(ValueError, match=r"theirs: theirs/composite_0\.png is missing, and 1 more of the 3 test images of all"):
        measured(changed)


@pytest.mark.parametrize(("changes", "message"), [
    ({"evaluate.competitors": {"reinhard": "."}}, r"competitors\.reinhard: the name is taken"),
    ({"evaluate.competitors": {"harmonized": "."}}, r"competitors\.harmonized: the name is taken"),
    ({"evaluate.competitors": {"theirs": "nowhere"}}, r"competitors\.theirs: nowhere is no folder"),
    ({"evaluate.champion": "nowhere"}, r"nowhere/config\.json: no trained harmonizer"),
])
def test_methods_that_cannot_take_part_are_named(
    project: Path, params: Params, configure: Configure, changes: dict[str, object], message: str
) -> None:
    del project
    save_model(params.paths.harmonizer)
    with pytest.raises(ValueError, match=message):
        load_methods(configure(changes))


def test_a_model_with_a_plate_is_measured_where_the_rows_have_one(project: Path, configure: Configure) -> None:
    save_pairs(project, 3, plates=True)
    params = configure({"evaluate.benchmarks": {"all": AT_48}})
    save_model(params.paths.harmonizer, config=replace(CONFIG, plate=True), gain=1 / 0.7)
    found = measured(params)
    assert means(found, "all")["harmonized"] < 0.5
    save_pairs(project, 3)
    with pytest.raises(ValueError, match="pair_00: this harmonizer needs clean backgrounds"):
        measured(params)


def test_native_images_are_measured_at_their_own_sizes_as_the_network_would_answer_there(project: Path, configure: Configure) -> None:
    save_pairs(project, 3, side=72)
    params = configure({"evaluate.benchmarks": {"all": AT_48 | {"size": "native", "resize": "none"}}})
    save_model(params.paths.harmonizer, gain=1 / 0.7)
    found = measured(params)
    assert {(scored.width, scored.height) for scored in found.scored["all"]} == {(72, 72)}
    squashed = measured(configure({"evaluate.benchmarks": {"all": AT_48 | {"size": 72}}}))
    assert means(found, "all")["composite"] == means(squashed, "all")["composite"]
    assert means(found, "all")["harmonized"] == pytest.approx(means(squashed, "all")["harmonized"], abs=0.05)


def test_real_composites_have_changes_and_no_errors(project: Path, configure: Configure) -> None:
    save_pairs(project, 5)
    rows = [{name: value for name, value in row.items() if name in COMPOSITES.names} for row in read_index(project / "data/index", "pairs")]
    rows = [row | {"source": "composites", "composite_phash": 0} for row in rows]
    write_table(project / "data/index/composites.parquet", rows, COMPOSITES)
    real = {"source": "composites", "subset": "*", "size": 48, "resize": "pillow_bilinear"}
    params = configure({"evaluate.benchmarks": {"pairs": AT_48, "real": real}, "evaluate.sheet_rows": 3})
    save_model(params.paths.harmonizer)
    result = evaluate(params, silent)
    assert set(result) == {"pairs"}
    scored = evaluate_harmonizer(params, load_harmonizer(params.paths.harmonizer)[0])
    assert "real" not in scored["benchmark"].cast("string").to_pylist()
    changes = json.loads((params.paths.metrics / "evaluate_real.json").read_text())["real"]
    assert changes["composite"] == changes["harmonized"] == {"change": 0.0, "median_change": 0.0, "num_images": 5, "num_skipped": 0}
    assert changes["reinhard"]["change"] > 1.0
    assert pq.read_table(params.paths.measures / "real_composites.parquet").schema.equals(CHANGES)
    make_report(params)
    with Image.open(params.paths.report / "sheet_real.png") as sheet:
        assert sheet.width > 4 * 48


def test_ours_stands_in_the_tables_of_the_same_images_and_size(project: Path, params: Params) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer)
    found = measure(params, load_methods(params), FLAVOURS, silent).scored["all"]
    assert leaderboards_for(params.evaluate.benchmarks["all"], found) == []
    like_iharmony4 = [replace(scored, row={**scored.row, "subset": "HCOCO"}) for scored in found]
    boards = leaderboards_for(Benchmark(source="iharmony4", subset="*", size=256, resize="pillow_bilinear"), like_iharmony4)
    assert [board.title for board in boards] == ["iHarmony4 at 256 px (raw)"]
    ours = {row.method: row for row in boards[0].rows if row.ours}
    assert ours["harmonized"].values["fmse"] == pytest.approx(np.mean([scored.fmse("harmonized") for scored in found]))
    assert all(row.why_not == "measured on 7,404 images, ours on 4" or "nobody" in row.why_not or "background" in row.why_not
               for row in boards[0].rows if not row.ours)


def test_a_full_test_split_stands_beside_the_rows_of_each_flavour(project: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer)
    found = measure(params, load_methods(params), FLAVOURS, silent).scored["all"]
    few = leaderboard.Protocol("iHarmony4 at 256 px", "iharmony4", 256, {**leaderboard.IHARMONY4, "HCOCO": 4, "all": 4})
    monkeypatch.setitem(leaderboard.PROTOCOLS, "iharmony4", few)
    like_iharmony4 = [replace(scored, row={**scored.row, "subset": "HCOCO"}) for scored in found]
    boards = leaderboards_for(Benchmark(source="iharmony4", subset="*", size=256, resize="pillow_bilinear"), like_iharmony4)
    assert [board.title for board in boards] == [
        *(f"iHarmony4 at 256 px ({flavour})" for flavour in FLAVOURS), "iHarmony4 at 256 px, HCOCO (raw)"
    ]
    comparable = [{row.method for row in board.rows if not row.why_not and not row.ours} for board in boards]
    assert {"DoveNet", "BargainNet", "IIH", "Harmonizer"} <= comparable[0]
    assert {"PCT-Net ViT", "DCCF"} <= comparable[1]
    assert {"iSSAM", "CDTNet", "DucoNet"} <= comparable[2]
    assert not comparable[0] & comparable[1] & comparable[2]
    issam = next(row for row in boards[2].rows if row.method == "harmonized")
    assert issam.values["psnr"] == pytest.approx(np.mean([scored.scores["harmonized"]["issam"].psnr for scored in found]))


def test_the_harmonizer_is_compared_with_every_other_method_by_photograph(project: Path, params: Params) -> None:
    save_pairs(project, 12)
    save_model(params.paths.harmonizer, gain=1 / 0.7)
    found = measure(params, load_methods(params), FLAVOURS, silent).scored["all"]
    compared = {one.method: one for one in compare_with_others("all", found, params.seed)}
    assert list(compared) == ["composite", "reinhard", "lab_shift", "monge_kantorovich"]
    gain = compared["composite"]
    assert gain.wins == 1.0
    assert gain.high < 0
    assert gain.p_value is not None
    assert gain.p_value < 0.01
    together = [replace(scored, row={**scored.row, "group": "one photograph"}) for scored in found]
    alone = {one.method: one for one in compare_with_others("all", together, params.seed)}
    assert alone["composite"].p_value == 1.0  # one photograph proves nothing


def test_the_do_nothing_rows_of_real_pairs_are_those_of_pillow_numpy_and_scikit_image(real_data: Path, configure: Configure) -> None:
    names = (("HAdobe5k", "a0002_1_4"), ("HAdobe5k", "a0002_1_5"), ("HFlickr", "f55_1_1"))
    benchmark = configure({"evaluate.benchmarks": {"all": AT_48 | {"size": 256}}}).evaluate.benchmarks["all"]
    for subset, name in names:
        folder, (image, number, _) = real_data / "iharmony4_sample" / subset, name.split("_")
        paths = {
            "composite": folder / f"composite_images/{name}.jpg", "target": folder / f"real_images/{image}.jpg",
            "mask": folder / f"masks/{image}_{number}.png",
        }
        example = read_example({f"{which}_path": str(path) for which, path in paths.items()}, benchmark, max_megapixels=30)
        found = score_flavours(example.composite, example.target, example.mask)
        composite, target, mask = (
            np.asarray(Image.open(paths[which]).convert(mode).resize((256, 256), Image.Resampling.BILINEAR), np.float64)
            for which, mode in (("composite", "RGB"), ("target", "RGB"), ("mask", "L"))
        )
        hard = mask >= 128
        for flavour in FLAVOURS:
            given = np.where(hard[..., None], composite, target) if flavour == "masked" else composite
            error, weights = np.square(given - target), (mask / 255 if flavour == "issam" else hard.astype(float))
            peak = target.max() if flavour == "issam" else 255.0
            ssim = structural_similarity(
                target, given, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
            )
            assert found[flavour].mse == pytest.approx(error.mean(), abs=1e-6)
            assert found[flavour].fmse == pytest.approx((error * weights[..., None]).sum() / (3 * weights.sum()), abs=1e-6)
            assert found[flavour].psnr == pytest.approx(10 * np.log10(peak**2 / (error.mean() + 1e-6)), abs=1e-6)
            assert found[flavour].ssim == pytest.approx(ssim, abs=1e-6)


def test_appearance_is_measured_where_it_is_asked_for_alone(project: Path, params: Params) -> None:
    save_pairs(project, 4)
    save_model(params.paths.harmonizer, gain=1.2)
    methods = load_methods(params)
    plain, seen = (measure(params, methods, FLAVOURS, silent, with_appearance=wanted).scored["all"] for wanted in (False, True))
    assert [one.scores for one in plain] == [one.scores for one in seen]
    assert all(one.appearance == {} for one in plain)
    for one in seen:
        assert list(one.appearance) == [*one.scores, "target"]
        assert one.appearance["composite"].cie76 == 0.0
        assert one.appearance["target"].cie76 > 5.0
