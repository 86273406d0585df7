"""Conventions of tasks.evaluation.protocols, each pinned against the library that it is named after."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from attune.images import encode_png
from tasks.evaluation.looks_pairs import looked
from tasks.evaluation.protocols import RESIZES, at_size, describe, read_example
from tasks.evaluation.protocols import test_rows as rows_of
from tasks.index import PHOTOGRAPHS, TABLES, write_table
from tasks.params import Benchmark, Params

LOOKS = {"source": "looks", "subset": "dogs", "size": 32, "resize": "pillow_bilinear"}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)


def test_convention_pillow_bilinear_is_antialiased_as_torch_does_it(picture: np.ndarray) -> None:
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    wanted = torch.nn.functional.interpolate(tensor, (32, 32), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(RESIZES["pillow_bilinear"](picture, 32) - wanted).max() <= 1.01  # it rounds after each axis


def test_convention_pillow_bicubic_is_pillows(picture: np.ndarray) -> None:
    wanted = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(RESIZES["pillow_bicubic"](picture, 32), wanted)


def test_convention_opencv_linear_is_not_antialiased_as_torch_does_it(picture: np.ndarray) -> None:
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    wanted = torch.nn.functional.interpolate(tensor, (32, 32), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    found = RESIZES["opencv_linear"](picture, 32)
    assert np.abs(found - wanted).max() <= 1.01
    assert np.abs(found.astype(float) - RESIZES["pillow_bilinear"](picture, 32)).mean() > 5


def test_convention_opencv_area_is_the_mean_of_whole_blocks() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    wanted = picture.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(RESIZES["opencv_area"](picture, 32) - wanted).max() <= 0.51


def test_convention_lanczos_jpeg_stores_images_at_quality_90_and_leaves_masks_exact(picture: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(picture, (0, 0), 4)
    exact = cv2.resize(smooth, (32, 32), interpolation=cv2.INTER_LANCZOS4)
    stored = RESIZES["lanczos_jpeg"](smooth, 32)
    assert 0 < np.abs(stored.astype(float) - exact).mean() < 3
    assert np.array_equal(RESIZES["lanczos_jpeg"](smooth[..., 0], 32), exact[..., 0])


@pytest.mark.parametrize("name", RESIZES)
def test_an_image_of_the_wanted_size_stays_as_it_is(name: str, picture: np.ndarray) -> None:
    square = np.ascontiguousarray(picture[:32, :32])
    assert np.array_equal(RESIZES[name](square, 32), square)


def test_native_images_keep_their_size_and_are_said_to(picture: np.ndarray) -> None:
    native = Benchmark(source="realhm", subset="*", size="native", resize="none")
    assert at_size(picture, native) is picture
    assert describe(native) == "Test split of realhm, all sub-sets, at the files' own sizes."
    small = Benchmark(source="iharmony4", subset="HCOCO", size=256, resize="opencv_linear")
    assert describe(small) == "Test split of iharmony4, HCOCO, squashed to 256 x 256 px (opencv, linear)."


def test_targets_and_plates_are_read_where_the_row_has_them(tmp_path: Path, picture: np.ndarray) -> None:
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[10:40, 20:60] = 255
    row = {"composite_path": str(tmp_path / "c.png"), "mask_path": str(tmp_path / "m.png"), "plate_path": None}
    (tmp_path / "c.png").write_bytes(encode_png(picture))
    (tmp_path / "m.png").write_bytes(encode_png(mask))
    benchmark = Benchmark(source="realhm", subset="*", size=32, resize="opencv_area")
    bare = read_example(row, benchmark, max_megapixels=1.0)
    assert bare.target is None
    assert bare.plate is None
    assert bare.num_foreground == int((bare.mask >= 128).sum()) > 0
    whole = read_example(row | {"plate_path": row["composite_path"], "target_path": row["composite_path"]}, benchmark, max_megapixels=1.0)
    assert np.array_equal(whole.plate, whole.composite)
    assert np.array_equal(whole.target, whole.composite)


@pytest.mark.parametrize(("size", "resize"), [("native", "opencv_area"), (256, "none")])
def test_size_and_resize_belong_together(size: int | str, resize: str) -> None:
    with pytest.raises(ValueError, match="native goes with none"):
        Benchmark(source="photos", subset="*", size=size, resize=resize)


def test_looks_are_pairs_of_test_photographs_made_while_they_are_read(
    project: Path, configure: Callable[..., Params], picture: np.ndarray
) -> None:
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[10:40, 20:60] = 255
    (project / "c.png").write_bytes(encode_png(picture))
    (project / "m.png").write_bytes(encode_png(mask))
    rows = [
        {
            "key": f"k{number}", "source": "photos", "subset": "dogs" if number < 5 else "cats",
            "split": "train" if number == 0 else "test", "group": f"g{number}", "image_path": "c.png", "mask_path": "m.png",
            "width": 140, "height": 90, "fg_ratio": 0.1, "label": "dog",
        }
        for number in range(9)
    ]
    write_table(project / "data/index/photographs.parquet", rows, PHOTOGRAPHS)
    params = configure({"evaluate.benchmarks": {"looks": LOOKS}, "evaluate.looks.num_photographs": 3})
    found = rows_of(params, "looks")
    assert len(found) == 6
    assert {row["subset"] for row in found} == {"dogs"}
    benchmark = params.evaluate.benchmarks["looks"]
    example = read_example(found[0], benchmark, max_megapixels=1.0)
    assert example.target is not None
    assert np.array_equal(example.target, at_size(picture, benchmark))
    assert np.array_equal(example.composite, at_size(looked(picture, mask, found[0]), benchmark))
    assert not np.array_equal(example.composite, example.target)
    assert describe(benchmark).startswith("Test photographs, dogs, whose object went through one of 36 photographic looks")


def test_where_no_photograph_is_indexed_there_are_no_looks(project: Path, configure: Callable[..., Params]) -> None:
    for name in TABLES:
        write_table(project / f"data/index/{name}.parquet", [], TABLES[name])
    with pytest.raises(ValueError, match=r"evaluate.benchmarks.looks: no test images of source 'looks'"):
        rows_of(configure({"evaluate.benchmarks": {"looks": LOOKS}}), "looks")
