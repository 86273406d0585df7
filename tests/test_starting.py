"""What training starts from."""

from dataclasses import replace

import torch
from test_matched import CONFIG

from tasks.params import load_params
from tasks.training.starting import SHIPPED_FOLDER, efficientnet_lite0, pretrained_weights, start_folder, start_weights


def test_the_packages_weights_are_those_of_the_features():
    model = CONFIG.build()
    weights = pretrained_weights(model)
    features = {f"features.{name}": tensor.shape for name, tensor in model.features.state_dict().items()}
    assert {name: tensor.shape for name, tensor in weights.items()} == features
    assert all(torch.isfinite(tensor).all() for tensor in efficientnet_lite0().values())


def test_an_architecture_without_pretrained_parts_starts_from_nothing():
    assert pretrained_weights(replace(CONFIG, use_features=False).build()) == {}


def test_none_is_no_folder_and_shipped_is_the_one_of_the_checkout():
    assert start_folder("none") is None
    assert start_folder("shipped") == SHIPPED_FOLDER
    assert (SHIPPED_FOLDER / "model.pt").stat().st_size < 8e6


def test_the_shipped_weights_fit_the_matched_architecture_at_any_size():
    options = load_params().train.model.options["matched"]
    model = replace(CONFIG, **{**options, "size": 64}).build()
    weights = start_weights(SHIPPED_FOLDER, model)
    model.load_state_dict(weights)
    for name, tensor in efficientnet_lite0().items():
        assert torch.equal(model.features.state_dict()[name], tensor), name
