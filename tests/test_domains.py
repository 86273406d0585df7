"""Which SycoNet a photograph gets."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.syconet import SycoNet, SycoNetConfig
from tasks.augmentation.domains import UNION, SycoNets, checkpoint_digests, checkpoint_folder, domain_of, in_domain
from tasks.params import Params, load_params
from tasks.syconet_files import save_syconet

ROW = {"source": "photos", "subset": "coco"}


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        ([], UNION), (["photos"], "photos"), (["photos/coco", "photos"], "photos/coco"), (["photos", "photos/coco"], "photos/coco"),
        (["photos/horse", "coco"], UNION), (["iharmony4"], UNION),
    ],
)
def test_a_photograph_belongs_to_the_narrowest_domain_that_names_it(domains: list[str], expected: str) -> None:
    assert domain_of(ROW, domains) == expected


def test_the_union_holds_every_photograph() -> None:
    assert in_domain(ROW, UNION)
    assert not in_domain(ROW, "photos/co")


def test_each_domain_has_a_folder_and_a_digest_of_its_own(project: Path, configure: Callable[..., Params]) -> None:
    del project
    params = configure({"finetune_syconet.domains": ["photos", "photos/coco"]})
    for seed, domain in enumerate((UNION, "photos", "photos/coco")):
        torch.manual_seed(seed)
        config = SycoNetConfig(size=16, latent_dim=2, num_luts=2, lut_dim=3, width=4)
        save_syconet(checkpoint_folder(params, domain), SycoNet(config), config, {})
    assert len(set(checkpoint_digests(params).values())) == 3
    nets = SycoNets(params)
    assert nets.of(ROW).domain == "photos/coco"
    assert nets.of({"source": "photos", "subset": "horse"}).domain == "photos"
    assert nets.of({"source": "starter", "subset": "coco"}).domain == UNION
    assert nets.of(ROW).digest == checkpoint_digests(params)["photos/coco"]
    (checkpoint_folder(params, "photos") / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"data/domains/photos/syconet/model\.pt: no trained syconet here"):
        checkpoint_digests(params)


@pytest.mark.parametrize("name", ["photos/", "/photos", "photos/coco/x", "a b", "photos@x", ""])
def test_a_domain_that_could_name_no_stage_is_refused(repository: Path, tmp_path: Path, name: str) -> None:
    text = (repository / "params.yaml").read_text()
    assert "domains: []" in text
    (tmp_path / "params.yaml").write_text(text.replace("domains: []", f'domains: ["{name}"]'))
    with pytest.raises(ValueError, match=r"syconet\.domains"):
        load_params(tmp_path / "params.yaml")
