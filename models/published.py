"""The published weights in our harmonizer, for those who have the authors' file."""

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from models.harmonizer import ParametricHarmonizer
from models.paper import PublishedConfig, paper_config

SHADING_NAMES = {  # the published name of each layer of the shading network, and ours
    "conv0": "first", "conv1": "down.0", "conv2": "down.1", "conv3": "down.2", "conv3_1": "down.3", "conv3_2": "down.4", "conv3_3":
    "down.5", "conv4_1": "up.0", "conv4_2": "up.1", "conv4_3": "up.2", "conv_only": "head",
}  # fmt: skip
UNUSED_NAMES = {"conv4", "conv5", "conv6", "conv7", "conv8", "conv9"}  # in the file, 406,241 parameters, and in no output


def load_published(state: Mapping[str, Tensor]) -> ParametricHarmonizer:
    """The published model in evaluation mode, from the tensors under "state_dict" in its authors' file (ckpt_g39), which we do not bring
    along.

    Its conventions hold then: knots at half pixels, the last convolution after the upsampling, the mask applied twice, gains in [0.6, 1].
    At sizes other than 512 px the map is interpolated before it is squashed, the authors' code does the reverse. Raises ValueError naming
    the keys or the shapes that do not fit.
    """
    renamed: dict[str, Tensor] = {}
    foreign = []
    for key, tensor in state.items():
        net, _, name = key.removeprefix("module.").partition(".")
        layer, _, rest = name.partition(".")
        if net == "PL":
            renamed[f"curve_net.head.{rest}" if layer == "fc" else f"curve_net.encoder.{name}"] = tensor
        elif net == "gainnet" and layer in SHADING_NAMES:
            renamed[f"shading_net.{SHADING_NAMES[layer]}.{rest}"] = tensor
        elif net != "gainnet" or layer not in UNUSED_NAMES:
            foreign.append(key)
    if foreign:
        raise ValueError(f"not the published harmonizer: it has no {', '.join(foreign[:5])}")
    model = PublishedConfig(**{**asdict(paper_config()), "shading_limit": 0.6}).build()
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise ValueError(f"not the published harmonizer: {error}") from error
    return model.eval()
