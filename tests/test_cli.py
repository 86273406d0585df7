"""Witnesses of the command line: the same pixels as the functions below it, what it keeps, what it refuses, and how it goes on."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageEnhance
from released_models import write_released_model

from attune import batch, chosen_model, harmonizing
from attune.cli import main, parse_size
from attune.color_profiles import to_srgb
from attune.photo import Coding, Metadata, Photo
from attune.photo_files import read_photo, read_photo_mask
from attune.photo_writing import write_photo
from attune.prediction import load_predictor
from attune.render import render_edit

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray]
) -> Path:
    """The current folder: a composite, its mask, no project around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # `main` lifts it for its own process
    Image.fromarray(photograph(HEIGHT, WIDTH, 5)).save("composite.png")
    Image.fromarray(object_mask(HEIGHT, WIDTH)).save("mask.png")
    return tmp_path


def run(*arguments: object) -> int:
    """The exit code of `attune` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def pixels(name: str | Path) -> np.ndarray:
    return read_photo(Path(name)).pixels


# --- One picture ------------------------------------------------------------------------------------------------------------------------


def test_the_command_gives_the_functions_pixels(bench: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("harmonize", "composite.png", "mask.png", "-o", "new/fitted.png", "--model", model) == 0
    composite, mask = pixels("composite.png"), read_photo_mask(Path("mask.png"))
    assert np.array_equal(pixels("new/fitted.png"), render_edit(composite, mask, load_predictor(model).predict_edit(composite, mask)))
    assert np.abs(pixels("new/fitted.png").astype(int) - composite)[mask > 0].mean() > 5
    assert capsys.readouterr().out == "new/fitted.png\n"


def test_a_saved_edit_is_replayed_to_the_byte_without_a_model(bench: Path, model: Path) -> None:
    first = ("harmonize", "composite.png", "mask.png", "--params", "edit.json")
    by_hand = ("--strength", 0.7, "--shading", 1.2, "--blue", "0,0 200,255")
    assert run(*first, "-o", "a.png", "--model", model, *by_hand) == 0
    assert run(*first, "-o", "b.png", *by_hand) == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert run(*first, "-o", "c.png", "--strength", 0) == 0
    assert np.array_equal(pixels("c.png"), pixels("composite.png"))


def test_a_saved_edit_is_the_models_own_whatever_strength_it_was_saved_with(bench: Path, model: Path) -> None:
    first = ("harmonize", "composite.png", "mask.png", "--params", "edit.json")
    assert run(*first, "-o", "half.png", "--model", model, "--strength", 0.5) == 0
    assert run(*first, "-o", "full.png") == 0
    assert run("harmonize", "composite.png", "mask.png", "-o", "plain.png", "--model", model) == 0
    assert Path("full.png").read_bytes() == Path("plain.png").read_bytes() != Path("half.png").read_bytes()


def test_an_export_is_adjusted_as_the_picture_is(bench: Path, model: Path) -> None:
    by_hand = ("--strength", 0.5, "--red", "0,0 128,140 255,255")
    assert run("harmonize", "composite.png", "mask.png", "-o", "a.png", "--model", model, "--params", "edit.json", *by_hand) == 0
    assert run("export", "edit.json", "-o", "tools", "--like", "composite.png", *by_hand) == 0
    assert run("harmonize", "composite.png", "mask.png", "-o", "b.png", "--params", "tools/edit.json") == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_the_overrides_reach_the_pixels(bench: Path, model: Path) -> None:
    options = ("harmonize", "composite.png", "mask.png", "--model", model, "--shading", 0)
    assert run(*options, "--red", "0,0 255,255", "--green", "0,9 255,9", "--blue", "0,255 255,0", "-o", "drawn.png") == 0
    inside = read_photo_mask(Path("mask.png")) == 255
    before, after = pixels("composite.png")[inside], pixels("drawn.png")[inside]
    assert np.array_equal(after, np.stack([before[:, 0], np.full_like(before[:, 1], 9), 255 - before[:, 2]], axis=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["rgba", "grey"])
def test_transparency_depth_and_grey_are_kept(bench: Path, model: Path, kind: str, dtype: type) -> None:
    scale = 257 if dtype == np.uint16 else 1
    colors = pixels("composite.png").astype(dtype) * dtype(scale)
    colors = np.repeat(colors[..., :1], 3, axis=2) if kind == "grey" else colors
    alpha = np.full((HEIGHT, WIDTH), np.iinfo(dtype).max, dtype) if kind == "rgba" else None
    if alpha is not None:
        alpha[:9] = 0
    write_photo(Path("source.tif"), Photo(colors, alpha, kind == "grey", 1, Metadata(), Coding("TIFF")))
    assert run("harmonize", "source.tif", "mask.png", "-o", "fitted.tif", "--model", model, "--params", "edit.json") == 0
    before, after = read_photo(Path("source.tif")), read_photo(Path("fitted.tif"))
    assert (after.pixels.dtype, after.grey) == (dtype, kind == "grey")
    assert np.array_equal(after.alpha, before.alpha) if alpha is not None else after.alpha is None
    outside = read_photo_mask(Path("mask.png")) == 0
    assert np.array_equal(after.pixels[outside], before.pixels[outside])
    assert not np.array_equal(after.pixels, before.pixels)
    assert run("harmonize", "source.tif", "mask.png", "-o", "again.tif", "--params", "edit.json") == 0
    assert Path("again.tif").read_bytes() == Path("fitted.tif").read_bytes()


def test_what_lies_below_transparency_does_not_sway_the_edit(bench: Path, model: Path) -> None:
    colors, alpha = pixels("composite.png"), np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :15] = 0
    for name, hidden in (("black", 0), ("loud", 255)):
        colors[:, :15] = (hidden, 0, hidden)
        write_photo(Path(f"{name}.png"), Photo(colors, alpha, False, 1, Metadata(), Coding("PNG")))
        assert run("harmonize", f"{name}.png", "mask.png", "-o", f"{name}_out.png", "--model", model, "--params", f"{name}.json") == 0
    assert Path("black.json").read_bytes() == Path("loud.json").read_bytes()


@pytest.mark.parametrize(("name", "share"), [("p3", 0.15), ("adobe", 0.2), ("prophoto", 0.4)])
def test_a_wide_gamut_file_gets_what_its_srgb_twin_gets(
    bench: Path, tmp_path_factory: pytest.TempPathFactory, icc_profile: Callable[[str], bytes], name: str, share: float
) -> None:
    model = write_released_model(tmp_path_factory.mktemp("gentle"), eagerness=0.05)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile(name)))
    twin = ImageEnhance.Color(Image.open("composite.png")).enhance(0.3)  # as muted as most photographs: the primaries differ
    twin.save("composite.png")
    wide = np.array(ImageCms.profileToProfile(twin, ImageCms.createProfile("sRGB"), profile))
    write_photo(Path("wide.png"), Photo(wide, None, False, 1, Metadata(icc=icc_profile(name)), Coding("PNG")))
    for source in ("wide", "composite"):
        assert run("harmonize", f"{source}.png", "mask.png", "-o", f"{source}_out.png", "--model", model) == 0
    inside = read_photo_mask(Path("mask.png")) == 255
    seen = to_srgb(pixels("wide_out.png"), icc_profile(name))[inside].astype(int)
    before, after = (pixels(name)[inside].astype(int) for name in ("composite.png", "composite_out.png"))
    assert np.abs(seen - after).mean() < share * np.abs(after - before).mean()
    assert read_photo(Path("wide_out.png")).metadata.icc == icc_profile(name)
    assert np.array_equal(pixels("wide_out.png")[~inside], wide[~inside])


def test_a_turned_picture_is_harmonized_as_it_is_seen(bench: Path, model: Path) -> None:
    upright = Image.open("composite.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    for name in ("composite", "turned"):
        assert run("harmonize", f"{name}.png", "mask.png", "-o", f"{name}_out.png", "--model", model) == 0
    assert np.array_equal(pixels("turned_out.png"), pixels("composite_out.png"))
    with Image.open("turned_out.png") as opened:
        assert (opened.size, opened.getexif()[0x0112]) == ((HEIGHT, WIDTH), 6)


def test_a_mask_of_another_size_fits_if_its_shape_does(bench: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = Image.open("mask.png")
    mask.resize((WIDTH // 2, HEIGHT // 2)).save("small.png")
    mask.resize((WIDTH * 3 + 1, HEIGHT * 3)).save("large.png")
    for name in ("small", "large"):
        assert run("harmonize", "composite.png", f"{name}.png", "-o", f"{name}_out.png", "--model", model) == 0
        outside = cv2.dilate(read_photo_mask(Path("mask.png")), np.ones((9, 9))) == 0
        assert np.array_equal(pixels(f"{name}_out.png")[outside], pixels("composite.png")[outside])
    mask.transpose(Image.Transpose.ROTATE_90).save("turned.png")
    assert run("harmonize", "composite.png", "turned.png", "-o", "never.png", "--model", model) == 1
    assert "turned.png: the mask is 60x80 px and the picture 80x60" in capsys.readouterr().err
    assert not Path("never.png").exists()


def test_a_result_never_replaces_what_it_is_made_of(bench: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("composite.png").read_bytes()
    os.link("composite.png", "alias.png")
    for name in ("composite.png", "mask.png", "alias.png"):
        assert run("harmonize", "composite.png", "mask.png", "-o", name, "--model", model) == 1
        assert "would overwrite" in capsys.readouterr().err
    assert Path("composite.png").read_bytes() == before
    assert run("harmonize", "composite.png", "mask.png", "-o", "result.gif", "--model", model) == 1
    assert ".gif; the result can be" in capsys.readouterr().err


def test_a_plate_is_used_by_models_that_take_one(
    bench: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    plated = write_released_model(tmp_path_factory.mktemp("plated"), plate=True)
    Image.new("RGB", (30, 20), (200, 180, 90)).save("plate.jpg")
    assert run("harmonize", "composite.png", "mask.png", "-o", "out.png", "--model", plated) == 1
    assert "needs a plate" in capsys.readouterr().err
    assert run("harmonize", "composite.png", "mask.png", "-o", "out.png", "--model", plated, "--plate", "plate.jpg") == 0
    outside = read_photo_mask(Path("mask.png")) == 0
    assert np.array_equal(pixels("out.png")[outside], pixels("composite.png")[outside])


# --- Which model ------------------------------------------------------------------------------------------------------------------------


def test_the_default_is_the_one_inside_the_package(
    bench: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("harmonize", "composite.png", "mask.png", "-o", "out.png")
    monkeypatch.setattr(chosen_model, "EMBEDDED", bench / "none.json")
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "this installation holds no model" in said
    monkeypatch.setattr(chosen_model, "EMBEDDED", model / "model.json")
    assert run(*arguments) == 0
    assert run(*arguments[:-1], "named.png", "--model", model) == 0
    assert Path("named.png").read_bytes() == Path("out.png").read_bytes()


def test_a_model_is_named_by_its_folder_or_a_file_in_it(model: Path) -> None:
    for name in ("", "model.onnx", "model.json", "model.pt"):
        assert chosen_model.choose_model(str(model / name)).path == model / "model.json"
    with pytest.raises(ValueError, match=r"--model ./nowhere: nowhere: no such model; a released model is an \.onnx file"):
        chosen_model.choose_model("./nowhere")


def test_an_alias_is_asked_of_the_workshops_registry(bench: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(chosen_model, "ask_registry", lambda *arguments: asked.append(arguments) or str(model))
    assert run("harmonize", "composite.png", "mask.png", "-o", "out.png", "--model", "champion") == 0
    assert asked == [("path", "champion")]


def test_without_the_workshop_an_alias_is_refused_in_one_line(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_model, "PACKAGE", bench / "attune")
    with pytest.raises(ValueError, match="--model champion: no such file or folder; aliases and numbers are of the workshop's registry"):
        chosen_model.choose_model("champion")


# --- A folder ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(bench: Path, photograph: Callable[..., np.ndarray], object_mask: Callable[..., np.ndarray]) -> Path:
    """Four pictures of four formats with their masks, one of them no picture."""
    for folder in ("composites", "masks", "plates"):
        (bench / folder).mkdir()
    for number, suffix in enumerate((".jpg", ".png", ".tif", ".webp")):
        Image.fromarray(photograph(HEIGHT, WIDTH, number)).save(f"composites/p{number}{suffix}")
        Image.fromarray(object_mask(HEIGHT, WIDTH)).save(f"masks/p{number}.png")
        Image.fromarray(photograph(HEIGHT, WIDTH, number + 9)).save(f"plates/p{number}.jpg")
    Path("composites/bad [red]one.png").write_text("no picture")
    Path("masks/bad [red]one.png").write_bytes(Path("mask.png").read_bytes())
    Path("composites/notes.txt").write_text("not looked at")
    return bench


BATCH = ("harmonize", "--composites", "composites", "--masks", "masks", "--out", "out")


def test_a_bad_file_is_reported_and_the_rest_is_done(folders: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*BATCH, "--model", model) == 1
    said = capsys.readouterr()
    assert said.out == "4 harmonized, 1 at fault\n"
    assert said.err.count("\n") == 1
    assert "bad [red]one.png: not a picture" in said.err
    assert sorted(path.name for path in Path("out").iterdir()) == [".attune.json", "p0.jpg", "p1.png", "p2.tif", "p3.webp"]
    assert run("harmonize", "composites/p2.tif", "masks/p2.png", "-o", "single.tif", "--model", model) == 0
    assert Path("single.tif").read_bytes() == Path("out/p2.tif").read_bytes()


def test_finished_results_are_skipped_and_stale_ones_made_anew(folders: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("composites/bad [red]one.png").unlink()
    assert run(*BATCH, "--model", model) == 0
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir() if path.suffix != ".json"}
    Path("out/p1.png").unlink()
    os.utime("masks/p3.png", ns=(10**19, 10**19))
    assert run(*BATCH, "--model", model) == 0
    assert "2 harmonized, 2 finished before" in capsys.readouterr().out
    changed = {path.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"p1.png", "p3.webp"}
    assert run(*BATCH, "--model", model, "--strength", 0.5) == 1
    assert "made with other settings" in capsys.readouterr().err
    assert run(*BATCH, "--model", model, "--strength", 0.5, "--overwrite") == 0


def test_results_of_edited_code_are_not_mixed_with_new_ones(
    folders: Path, model: Path, capsys: pytest.CaptureFixture[str], edit_code: Callable[[str], None]
) -> None:
    Path("composites/bad [red]one.png").unlink()
    assert run(*BATCH, "--model", model) == 0
    edit_code("attune/doctor.py")
    assert run(*BATCH, "--model", model) == 0
    assert "0 harmonized, 4 finished before" in capsys.readouterr().out
    edit_code("attune/render.py")
    Path("out/p1.png").unlink()
    assert run(*BATCH, "--model", model) == 1
    assert "made with other settings, or by another version" in capsys.readouterr().err
    assert run(*BATCH, "--model", model, "--overwrite") == 0
    assert "4 harmonized" in capsys.readouterr().out


def test_an_interrupted_folder_goes_on_where_it_ended(
    folders: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Path] = []

    def interrupted(job: harmonizing.Job, settings: harmonizing.Settings) -> object:
        calls.append(job.composite)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return harmonizing.harmonize_file(job, settings)

    monkeypatch.setattr(batch, "harmonize_file", interrupted)
    assert run(*BATCH, "--model", model, "--jobs", 1) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert len(list(Path("out").glob("p*"))) == 1  # the bad one came first
    monkeypatch.undo()
    monkeypatch.chdir(folders)
    assert run(*BATCH, "--model", model) == 1
    assert capsys.readouterr().out == "3 harmonized, 1 finished before (--overwrite makes them anew), 1 at fault\n"


def test_the_edits_of_a_folder_are_saved_and_replayed(folders: Path, model: Path) -> None:
    assert run(*BATCH, "--model", model, "--params", "edits") == 1
    assert sorted(path.name for path in Path("edits").iterdir()) == ["p0.jpg.json", "p1.png.json", "p2.tif.json", "p3.webp.json"]
    Path("composites/bad [red]one.png").unlink()
    again = (*BATCH[:-1], "again")
    assert run(*again, "--model", model, "--params", "edits/p1.png.json") == 0
    assert Path("again/p1.png").read_bytes() == Path("out/p1.png").read_bytes()
    assert Path("again/p2.tif").read_bytes() != Path("out/p2.tif").read_bytes()  # one edit for all


def test_a_dry_run_tells_and_leaves_nothing(folders: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("masks/p0.png").unlink()
    Path("masks/p1.tif").write_bytes(Path("composites/p2.tif").read_bytes())
    Image.new("L", (50, 60)).save("masks/p2.png")
    Image.open("masks/p3.png").convert("1").save("masks/p3.png")
    assert run(*BATCH, "--model", model, "--dry-run") == 1
    said = capsys.readouterr()
    assert said.out == "1 to harmonize, 4 at fault\n"
    for part in ("p0.jpg: nothing called p0.* in masks", "p1.png: several files match: p1.png, p1", "the mask is 50x60 px", "bad [red]"):
        assert part in said.err
    assert not Path("out").exists()


def test_impossible_calls_are_named(folders: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("harmonize", "composite.png", "-o", "x.png") == 2
    assert run(*BATCH, "--strength", 3) == 2
    for out, said in (("composites", "results need a folder of their own"), ("mask.png", "results need a folder of their own")):
        assert run(*BATCH[:-1], out, "--model", model) == 1
        assert said in capsys.readouterr().err
    assert run("harmonize", "--composites", "nowhere", "--masks", "masks", "--out", "out", "--model", model) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    assert run("harmonize", "composite.png", "mask.png", "-o", "x.png", "--red", "1,2", "--model", model) == 1
    assert "--red: " in capsys.readouterr().err


# --- Export, doctor, help ---------------------------------------------------------------------------------------------------------------


def test_export_writes_what_other_tools_read(bench: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("harmonize", "composite.png", "mask.png", "-o", "out.png", "--model", model, "--params", "edit.json") == 0
    assert run("export", "edit.json", "-o", "tools", "--like", "composite.png") == 0
    assert sorted(path.name for path in Path("tools").iterdir()) == ["curves.cube", "curves_1d.cube", "edit.json", "shading.png"]
    assert cv2.imread("tools/shading.png", cv2.IMREAD_UNCHANGED).shape == (HEIGHT, WIDTH)
    assert "exact at every knot" in capsys.readouterr().out
    assert run("harmonize", "composite.png", "mask.png", "-o", "again.png", "--params", "tools/edit.json") == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    assert parse_size("1920x1080") == (1080, 1920)
    assert run("export", "edit.json", "-o", "tools", "--size", "99999999x99999999") == 1


def test_doctor_tells_each_part_and_whether_all_is_well(
    bench: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bench}/none.db")
    assert run("doctor", "--model", model) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [
        ["ok", "python"], ["ok", "runtime"], ["ok", "kernel"], ["ok", "formats"], ["ok", "model"], ["note", "registry"], ["ok", "disk"],
    ]
    assert run("doctor", "--model", "./nowhere") == 1
    assert "FAIL  model" in capsys.readouterr().out


def test_help_answers_without_torch_and_opencv(repository: Path) -> None:
    code = (
        "import sys, attune.cli\ntry: attune.cli.main(['harmonize', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'numba', 'mlflow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "attune harmonize --composites" in done.stdout
