"""The released harmonizer as MLflow runs it: encoded composites and masks in, encoded harmonized images out, each of any size.

MLflow keeps this file's text with the model and runs it where the model is loaded ("models from code"); what it holds besides is the
released model, an ONNX file and a JSON file. Nothing is unpickled, and torch is not needed.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from attune.images import decode_image, decode_mask, encode_png
from attune.prediction import load_predictor
from attune.render import render_edit

MAX_MEGAPIXELS = 60.0  # of one image; a larger one is refused before any of its pixels is decoded
MAX_FILE_BYTES = 256 << 20  # of one encoded image
MAX_ROWS = 64  # of one request
MAX_REQUEST_BYTES = 512 << 20  # of all its images; MLflow's server has read the request by then, base64 and all


class ServedHarmonizer(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """One row per image: `composite` and `mask` (and `plate`, for a model that takes one) as the bytes of PNG, JPEG, TIFF, WebP or BMP
    files; over HTTP as base64. The answer's column `harmonized` holds PNG files of the composites' sizes, 8 bit, sRGB-encoded.
    """

    def load_context(self, context: Any) -> None:
        """Load the model's folder."""
        self.model = load_predictor(Path(context.artifacts["harmonizer"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The harmonized images. An error of a row refuses the request, and names row and column: MLflow answers 400."""
        del context, params
        if len(model_input) > MAX_ROWS:
            raise _refusal(f"{len(model_input)} rows in one request; at most {MAX_ROWS}")
        rows = model_input.to_dict("records")
        if (size := sum(len(value) for row in rows for value in row.values() if isinstance(value, bytes))) > MAX_REQUEST_BYTES:
            raise _refusal(f"{size} bytes of images in one request; at most {MAX_REQUEST_BYTES}")
        try:
            return pd.DataFrame({"harmonized": [self._answer(number, row) for number, row in enumerate(rows)]})
        except ValueError as error:
            raise _refusal(str(error)) from error

    def _answer(self, number: int, row: dict[str, Any]) -> bytes:
        composite = decode_image(_file(number, "composite", row), name=f"row {number}, composite", max_megapixels=MAX_MEGAPIXELS)
        mask = decode_mask(_file(number, "mask", row), name=f"row {number}, mask", max_megapixels=MAX_MEGAPIXELS)
        plate = None
        if isinstance(row.get("plate"), bytes):
            plate = decode_image(_file(number, "plate", row), name=f"row {number}, plate", max_megapixels=MAX_MEGAPIXELS)
        try:
            return encode_png(render_edit(composite, mask, self.model.predict_edit(composite, mask, plate=plate)))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from error


def _file(number: int, column: str, row: dict[str, Any]) -> bytes:
    data = row[column]
    if not isinstance(data, bytes) or not data:
        raise ValueError(f"row {number}, {column}: no bytes; expected an encoded image")
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"row {number}, {column}: {len(data)} bytes; at most {MAX_FILE_BYTES}")
    return data


def _refusal(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedHarmonizer())
