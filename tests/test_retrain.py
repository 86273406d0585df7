"""Retraining's decisions without a pipeline: kept on record before they are carried out, finished after a kill, told, or not to be made."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import retrain, serve
from flows.processes import Leash
from flows.registry import Version
from flows.server import boot_server
from tasks.params import Params
from tasks.release import Rule, Verdict
from tasks.retraining.inbox import sort_inbox

ACCEPTED = Verdict((Rule("do_no_harm", 0.9, 0.5, True, "9 of 10"),))
REFUSED = Verdict((Rule("do_no_harm", 0.1, 0.5, False, "1 of 10"),))


class Registry:
    """The alias `champion` and who holds it, in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tags: dict[str, str]) -> None:
        self.champion: int | None = None
        self.tags = tags
        monkeypatch.setattr(retrain, "promote", self.promote)
        monkeypatch.setattr(retrain, "find_champion", self.find_champion)
        monkeypatch.setattr(retrain, "list_versions", lambda: [self.version(number) for number in range(1, len(self.tags) + 1)])

    def promote(self, number: int) -> None:
        self.champion = number

    def version(self, number: int) -> Version:
        tags = self.tags[number - 1] if number <= len(self.tags) else {}
        return Version(number, ("champion",) if number == self.champion else (), datetime.now(UTC), "run", tags)

    def find_champion(self) -> Version | None:
        return self.version(self.champion) if self.champion else None


@pytest.fixture
def params(project: Path, configure: Callable[..., Params], write_photos: Callable[..., Path]) -> Params:
    """A project with a batch in its inbox."""
    write_photos(project / "data/inbox/photos", 2)
    return configure({
        "ingest.sources": ["photos"], "ingest.min_side": 16,
        "release.inbox": "data/inbox", "paths.raw": "data/raw", "paths.work": "data/work",
    })


@pytest.fixture
def places(params: Params) -> retrain.Places:
    return retrain.Places(params.paths.work / "retrain")


def where(params: Params) -> dict[str, int]:
    """Files in the inbox, aside, and among the project's photographs."""
    inbox = params.release.inbox
    return {
        "inbox": len(list(inbox.glob("photos/*/*"))), "aside": len(list(inbox.glob("refused/*/photos/*/*"))),
        "raw": len(list(params.paths.raw.glob("photos/*/*"))),
    }


# --- Decisions --------------------------------------------------------------------------------------------------------------------------


def test_an_accepted_version_is_champion_and_its_data_are_the_projects(
    params: Params, places: retrain.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(monkeypatch)
    assert retrain.conclude(params, sort_inbox(params)[0], 3, ACCEPTED, places) == "promoted"
    assert registry.champion == 3
    assert where(params) == {"inbox": 0, "aside": 0, "raw": 4}
    assert not places.promotion.exists()


def test_a_refused_version_leaves_champion_and_data(params: Params, places: retrain.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(monkeypatch)
    registry.champion = 2
    batch, _ = sort_inbox(params)
    assert retrain.conclude(params, batch, 3, REFUSED, places) == "refused"
    assert registry.champion == 2
    assert where(params) == {"inbox": 0, "aside": 4, "raw": 0}
    told = json.loads((params.release.inbox / "refused" / batch.digest / "verdict.json").read_text())
    assert (told["version"], told["verdict"], told["why"]) == (3, "refused", "do_no_harm: 1 of 10")


class Killed(BaseException):
    """As SIGKILL: nothing may catch it."""


STEPS = ["write_json", "promote", "take_in"]


@pytest.mark.parametrize(("step", "after"), list(itertools.product(STEPS, [False, True])))
def test_killed_around_any_step_of_a_promotion_the_next_run_sees_it_done_or_not_begun(
    params: Params, places: retrain.Places, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    registry = Registry(monkeypatch)
    registry.champion = 2
    work = getattr(retrain, step)

    def killed(*arguments: Any) -> None:
        if after:
            work(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(retrain, step, killed)
        with pytest.raises(Killed):
            retrain.conclude(params, sort_inbox(params)[0], 3, ACCEPTED, places)
    promoted = (step, after) in [("promote", True), ("take_in", False), ("take_in", True)]
    assert registry.champion == (3 if promoted else 2)
    retrain.finish_interrupted(params, places)
    retrain.finish_interrupted(params, places)
    assert where(params) == ({"inbox": 0, "aside": 0, "raw": 4} if promoted else {"inbox": 4, "aside": 0, "raw": 0})
    assert not places.promotion.exists()


def test_a_rollback_in_between_leaves_the_data_of_the_fallen_champion_outside(
    params: Params, places: retrain.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(monkeypatch)
    batch, _ = sort_inbox(params)
    retrain.write_json(places.promotion, {"version": 3, "batch": dataclasses.asdict(batch)})
    registry.champion = 2
    retrain.finish_interrupted(params, places)
    assert where(params) == {"inbox": 4, "aside": 0, "raw": 0}


def test_a_model_that_could_not_be_released_is_not_trained(configure: Callable[..., Params], places: retrain.Places) -> None:
    with pytest.raises(ValueError, match=r"train\.model\.architecture is 'pixel': it predicts no edit"):
        retrain.retrain_once(configure({"train.model.architecture": "pixel"}), places)


# --- Nothing new ------------------------------------------------------------------------------------------------------------------------


def test_what_is_new_is_the_batch_or_the_first_training(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "snapshot_commit", lambda: "0123")
    batch, _ = sort_inbox(params)
    empty = dataclasses.replace(batch, files=(), digest="", rows={}, num_samples=0)
    registry = Registry(monkeypatch)
    assert retrain.why_nothing_new(params, batch, None) == ""
    assert retrain.why_nothing_new(params, empty, None) == ""
    assert "version 4 stays the champion" in retrain.why_nothing_new(params, empty, registry.version(4))
    data = retrain.digest_of({})
    Registry(monkeypatch, {"git_commit": "0123", "data_version": data})
    assert "version 1 was refused" in retrain.why_nothing_new(params, empty, None)
    Registry(monkeypatch, {"git_commit": "4567", "data_version": data}, {"git_commit": "0123", "data_version": "other"})
    assert retrain.why_nothing_new(params, empty, None) == "", "other code, or other data, may do better"


# --- Told -------------------------------------------------------------------------------------------------------------------------------


def test_nobody_is_told_by_default_and_who_cannot_be_told_is_no_failure(
    params: Params, configure: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(retrain, "attempt", lambda work, *arguments: sent.append(arguments))
    retrain.tell(params, {"decision": "promoted"})
    assert sent == []
    told = configure({"release.webhook": "https://example.org/$TOKEN"})
    retrain.tell(told, {"decision": "promoted"})
    assert sent == [("https://example.org/$TOKEN", {"project": "attune", "decision": "promoted"})]

    def fail(*_: Any) -> None:
        raise OSError("the webhook answers 500")

    monkeypatch.setattr(retrain, "attempt", fail)
    retrain.tell(told, {"decision": "promoted"})
    assert "the webhook answers 500" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host", "host/hook"])
def test_a_webhook_is_http(configure: Callable[..., Params], address: str) -> None:
    with pytest.raises(ValueError, match=r"release\.webhook"):
        configure({"release.webhook": address})


# --- The schedule -----------------------------------------------------------------------------------------------------------------------


def test_the_deployment_runs_one_at_a_time_in_the_pool_that_is_served(repository: Path) -> None:
    deployment, = yaml.safe_load((repository / "prefect.yaml").read_text())["deployments"]
    file, _, name = deployment["entrypoint"].partition(":")
    assert (repository / file).is_file()
    assert getattr(retrain, name).name == "retrain"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["work_pool"]["name"] == serve.POOL
    assert len(deployment["schedules"]) == 1


def test_a_port_that_is_taken_is_named(project: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with Leash() as leash, pytest.raises(ValueError, match=f"port {port} of the loopback is taken"):
            boot_server(leash, port=port, home=project)
