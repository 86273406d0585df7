import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.poll import as_metrics, as_rich_table, poll
from tasks.evaluation.findings import read_findings
from tasks.params import Params
from tasks.poll.scores import fit_poll, score_poll, write_poll_scores
from tasks.poll.votes import Vote, append_vote

LIKING = {"ours": 1.2, "theirs": 0.0, "composite": -1.2}


def simulate(count: int = 400, *, poll: str = "now", neither: float = 0.1) -> list[Vote]:
    """Votes of 8 raters on 30 images who like methods as LIKING says."""
    rng, votes = np.random.default_rng(3), []
    for number in range(count):
        left, right = rng.choice(list(LIKING), 2, replace=False)
        wins = rng.random() < 1 / (1 + np.exp(LIKING[right] - LIKING[left]))
        choice = "neither" if rng.random() < neither else "left" if wins else "right"
        image, rater = f"image {number // 16 % 30}", f"{number % 8:032x}"
        sides = {"left": left, "right": right, "choice": choice, "milliseconds": 1500}
        votes.append(Vote.model_validate({"poll": poll, "rater": rater, "image": image, **sides}))
    return votes


def score(votes: list[Vote], poll: str = "now") -> Any:
    return score_poll(votes, poll, ridge=0.01, num_resamples=128, rng=np.random.default_rng(0))


def test_known_preferences_are_recovered_with_their_intervals() -> None:
    found = score(simulate())
    assert [row.method for row in found.methods] == ["ours", "theirs", "composite"]
    for row in found.methods:
        assert row.low <= 0.9 * LIKING[row.method] <= row.high, "a tenth of the votes were for neither: scores are drawn together"
    assert all(duel.low > 0 for duel in found.duels)
    assert all(abs(duel.share_first - duel.share_expected) < 0.12 for duel in found.duels)
    assert (found.num_raters, found.separated, found.resampled) == (8, False, ("rater", "image"))


def test_only_the_last_vote_of_a_rater_counts_and_only_on_these_pictures() -> None:
    votes = simulate()
    found = score(votes)
    assert found.num_votes + found.num_superseded == len(votes)
    turned = [vote.model_copy(update={"choice": {"left": "right", "right": "left"}.get(vote.choice, vote.choice)}) for vote in votes]
    again = score([*turned, *simulate(50, poll="before"), *votes])
    assert again.num_superseded == found.num_superseded + len(votes)
    assert again.num_of_other_polls == 50
    assert [row.score for row in again.methods] == pytest.approx([row.score for row in found.methods])


def test_what_is_written_is_what_was_found(tmp_path: Path) -> None:
    found = score(simulate())
    write_poll_scores(tmp_path / "poll", tmp_path / "metrics", found)
    assert json.loads((tmp_path / "poll/scores.json").read_text()) == json.loads(json.dumps(dataclasses.asdict(found)))
    assert (tmp_path / "poll/scores.png").read_bytes().startswith(b"\x89PNG")
    finding = read_findings(tmp_path / "metrics")["poll"]
    assert [each.name for each in finding.estimates] == ["ours", "theirs", "composite"]
    assert "Told apart: ours over theirs, ours over composite, theirs over composite." in finding.note


def test_one_rater_and_only_ties_are_told_as_what_they_are(tmp_path: Path) -> None:
    votes = [vote.model_copy(update={"rater": "0" * 32, "choice": "neither"}) for vote in simulate()]
    found = score(votes)
    assert found.share_left is None
    assert [row.score for row in found.methods] == pytest.approx([0.0, 0.0, 0.0])
    assert found.resampled == ("image",)
    write_poll_scores(tmp_path, tmp_path, found)
    assert "Told apart: none" in read_findings(tmp_path)["poll"].note


def test_no_votes_are_a_clear_fault(project: Path, configure: Callable[..., Params]) -> None:
    with pytest.raises(ValueError, match=r"votes\.jsonl: no votes yet; `make poll`"):
        fit_poll(configure())
    with pytest.raises(ValueError, match="no votes on the pictures of poll now; there are 50 on others"):
        score(simulate(50, poll="before"))


def test_the_numbers_for_mlflow_and_the_table_are_the_scores() -> None:
    found = score(simulate())
    metrics = as_metrics(found)
    assert metrics["score.ours"] == found.methods[0].score
    assert metrics["score_low.composite"] == found.methods[2].low
    assert as_rich_table(found, "title").row_count == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_flow_leaves_files_an_mlflow_run_and_a_prefect_artifact(
    project: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., Params]
) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ATTUNE_PARENT_RUN", raising=False)
    artifacts: list[dict[str, Any]] = []
    monkeypatch.setattr("flows.poll.create_table_artifact", lambda **values: artifacts.append(values))  # it needs a server
    (project / "params.yaml").write_text((repository / "params.yaml").read_text())
    for vote in simulate(120):
        append_vote(configure().poll.folder / "votes.jsonl", vote)
    poll.fn()
    (artifact,) = artifacts
    assert [row["method"] for row in artifact["table"]] == ["ours", "theirs", "composite"]
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("attune").experiment_id])
    scores = json.loads((configure().poll.folder / "scores.json").read_text())
    assert run.data.metrics["score.ours"] == scores["methods"][0]["score"]
    assert {found.path for found in client.list_artifacts(run.info.run_id)} == {"scores.json", "scores.png"}
