"""Which SycoNet makes a photograph's composites: its own domain's where params name one, else the union's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.syconet import SycoNet
from tasks.params import Params
from tasks.syconet_files import load_syconet

Row = Mapping[str, Any]

UNION = ""  # the domain that every photograph belongs to


@dataclass(frozen=True)
class NamedSycoNet:
    """A trained SycoNet and where it comes from."""

    domain: str
    digest: str  # of its weights: the first 16 digits of their SHA-256
    model: SycoNet


class SycoNets:
    """The SycoNets of all domains and of the union, loaded when one is asked for."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._loaded: dict[str, NamedSycoNet] = {}

    def of(self, row: Row) -> NamedSycoNet:
        """The one for a row of the index. Raises ValueError naming the file if it is missing."""
        domain = domain_of(row, self.params.finetune_syconet.domains)
        if domain not in self._loaded:
            model, _ = load_syconet(checkpoint_folder(self.params, domain))
            self._loaded[domain] = NamedSycoNet(domain, checkpoint_digest(self.params, domain), model)
        return self._loaded[domain]


def in_domain(row: Row, domain: str) -> bool:
    """Whether a row of the index belongs to `domain`: a source ("photos"), a source's sub-set ("photos/coco"), or the union."""
    return domain in (UNION, row["source"], f"{row['source']}/{row['subset']}")


def domain_of(row: Row, domains: Sequence[str]) -> str:
    """The narrowest of `domains` that a row of the index belongs to; the union where there is none."""
    return max((domain for domain in domains if in_domain(row, domain)), key=len, default=UNION)


def checkpoint_folder(params: Params, domain: str) -> Path:
    """Where a domain's SycoNet is kept."""
    return params.paths.syconet if domain == UNION else params.paths.domains / domain / "syconet"


def checkpoint_digest(params: Params, domain: str) -> str:
    """What tells a domain's weights apart. Raises ValueError naming the file if it is missing."""
    path = checkpoint_folder(params, domain) / "model.pt"
    if not path.is_file():
        raise ValueError(f"{path}: no trained syconet here; `dvc repro` makes it")
    return sha256(path.read_bytes()).hexdigest()[:16]


def checkpoint_digests(params: Params) -> Mapping[str, str]:
    """The digests of the union ("") and of all domains that params name."""
    return {domain: checkpoint_digest(params, domain) for domain in (UNION, *params.finetune_syconet.domains)}
