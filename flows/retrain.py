"""Retraining: new data in, a candidate trained, measured beside the champion, held to the gate, registered; promoted or not, and why.

`make retrain` does it once, `make serve` on a schedule (prefect.yaml). The pipeline runs in a workspace below `data/work`: until the gate
has spoken nothing of the project changes. Then two things happen in this order, with a note of both written before: the alias `champion`
moves, which is one write, and the batch moves to `paths.raw`. Killed before the first, the champion and all data are as they were; killed
after it, the next run finishes the second.
"""

import argparse
import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from rich.markup import escape

from attune.files import read_json, write_bytes, write_json
from flows.console import console, faults_as_lines
from flows.pipeline import only_one, pipeline
from flows.processes import exit_on_sigterm, follow_parent
from flows.registry import Version, fetch_model, find_champion, list_versions, promote, register_model
from flows.server import prefect_api
from flows.stage import attempt
from flows.tracking import Execution, end_left_open, store_uri, tracked_execution
from flows.workspace import (
    RAW,
    DataFile,
    file_names,
    inside,
    list_data,
    locked_outputs,
    make_workspace,
    snapshot_commit,
)
from models.architectures import parametric_architectures
from tasks.evaluate import evaluate_harmonizer
from tasks.evaluation.naturalness import photographs_changed
from tasks.harmonizer_files import load_harmonizer
from tasks.params import Params, load_params
from tasks.release import Figures, Verdict, decide
from tasks.retraining.audition import megabytes, prediction_ms
from tasks.retraining.batches import Batch, link_files, merge_lists, put_aside, take_in
from tasks.retraining.inbox import sort_inbox, write_left
from tasks.retraining.model_card import Origin, rules_table, write_card
from tasks.retraining.notice import post_notice

DVC_CACHE = Path(".dvc/cache")
ARTIFACT = "retrain"  # the key of Prefect's artifacts


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a retraining keeps its state: below `paths.work`, all of it safe to delete when none runs."""

    folder: Path

    @property
    def workspace(self) -> Path:
        """The pipeline's own folder."""
        return self.folder / "workspace"

    @property
    def run(self) -> Path:
        """Which MLflow run is open."""
        return self.folder / "run.json"

    @property
    def promotion(self) -> Path:
        """What is about to become of which version and batch."""
        return self.folder / "promotion.json"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A harmonizer fresh from the workspace's pipeline, and what it was made of."""

    folder: Path
    commit: str
    lock: Path
    data: Mapping[str, DataFile]
    params: Params  # the workspace's

    @property
    def data_version(self) -> str:
        """A hash of every name and content below `paths.raw`."""
        return digest_of({name: file.sha256 for name, file in self.data.items()})


@flow(name="retrain")
def retrain() -> None:
    """Retrain on what is new in the inbox, and promote the candidate if the gate accepts it; see the top of this file."""
    params = load_params()
    with only_one("retrain"):
        try:
            message = retrain_once(params, Places(params.paths.work / "retrain"))
        except Exception as error:
            tell(params, {"decision": "failed", "why": str(error)})
            raise
    create_markdown_artifact(markdown=str(message.pop("markdown")), key=ARTIFACT, description=str(message["decision"]))
    console.print(f"[bold]retrain: {message['decision']}[/bold]: {escape(str(message['why']))}")
    if message["decision"] != NOTHING_NEW:
        tell(params, message)


NOTHING_NEW = "nothing new"


def retrain_once(params: Params, places: Places) -> dict[str, Any]:
    """One retraining from the inbox to the decision; what to tell of it: `decision`, `why`, and for people `markdown`.

    Raises ValueError if the params name a model that could not be released.
    """
    architecture = params.train.model.architecture
    if architecture not in (able := parametric_architectures()):
        raise ValueError(
            f"train.model.architecture is {architecture!r}: it predicts no edit to apply at full resolution; release {' or '.join(able)}"
        )
    finish_interrupted(params, places)
    batch, left = attempt(sort_inbox, params)
    if params.release.inbox.is_dir():
        write_left(params.release.inbox, left)
    champion = find_champion()
    console.print(f"retrain: {batch.num_samples} new samples, {len(left)} left in {params.release.inbox}")
    if why := why_nothing_new(params, batch, champion):
        return {"decision": NOTHING_NEW, "why": why, "left": len(left), "markdown": f"# Nothing new\n\n{why}\n"}
    with tracked_execution("retrain") as execution:
        write_json(places.run, {"run_id": execution.run_id})
        candidate = train_candidate(params, batch, places, execution)
        console.print("retrain: measuring")
        figures, standing = measure_both(candidate, champion)
        verdict = decide(figures, standing, params.release, params.seed)
        console.print("retrain: registering")
        tags = {"batch": batch.digest, "held_against": str(champion.number) if champion else ""}
        version = record(candidate, (figures, standing), verdict, execution, tags)
        decision = conclude(params, batch, version, verdict, places)
        execution.tag({"decision": decision, "version": str(version)})
    places.run.unlink()
    shutil.rmtree(places.workspace)
    message = {"decision": decision, "why": verdict.why, "version": version, "champion_before": champion.number if champion else None,
               "samples": batch.num_samples, "left": len(left), "rules": verdict.as_json()["rules"]}
    heading = f"# Version {version}: {decision}\n\n{batch.num_samples} new samples, {len(left)} left in the inbox.\n\n"
    return {**message, "markdown": heading + rules_table(verdict.rules)}


# --- Before -----------------------------------------------------------------------------------------------------------------------------


def finish_interrupted(params: Params, places: Places) -> None:
    """Finish what a killed run had decided, and end what it left open."""
    if places.promotion.is_file():
        note = read_json(places.promotion)
        champion = find_champion()
        if champion is not None and champion.number == note["version"]:
            take_in(Batch.from_json(note["batch"]), params)
            console.print(f"retrain: finished a promotion that was cut off: version {champion.number}, its data are in {params.paths.raw}")
        places.promotion.unlink()
    if places.run.is_file():
        end_left_open(read_json(places.run)["run_id"])
        places.run.unlink()


def why_nothing_new(params: Params, batch: Batch, champion: Version | None) -> str:
    """Why there is nothing to train for; empty if there is something."""
    if batch.files:
        return ""
    if champion is not None:
        return f"No new sample passed ingestion's checks; version {champion.number} stays the champion."
    try:
        tried = [version for version in list_versions() if version.tags.get("git_commit") == snapshot_commit()]
    except ValueError:
        return ""  # no registry yet
    data = digest_of({name: file.sha256 for name, file in list_data(params.paths.raw).items()})
    refused = [version.number for version in tried if version.tags.get("data_version") == data]
    return f"This code and these data were tried before: version {refused[-1]} was refused." if refused else ""


def train_candidate(params: Params, batch: Batch, places: Places, execution: Execution) -> Candidate:
    """Run the pipeline in a workspace of its own, on the project's data and the batch."""
    commit, workspace = snapshot_commit(), places.workspace
    raw = params.paths.raw
    names = file_names(raw) if raw.is_dir() else []
    make_workspace(workspace, commit, raw=raw, names=names, cache=DVC_CACHE)
    link_files(batch.files, params.release.inbox, workspace / RAW)
    merge_lists(batch, workspace / RAW, params)
    compiled = str(places.folder.absolute() / "numba")  # kept from run to run, as the workspace is not
    with inside(workspace, {"MLFLOW_TRACKING_URI": store_uri(), "NUMBA_CACHE_DIR": compiled, **execution.environment()}):
        pipeline()
    own = load_params(workspace / "params.yaml")
    return Candidate(workspace / own.paths.harmonizer, commit, workspace / "dvc.lock", list_data(workspace / RAW), own)


# --- The gate ---------------------------------------------------------------------------------------------------------------------------


def measure_both(candidate: Candidate, champion: Version | None) -> tuple[Figures, Figures | None]:
    """The candidate and the champion on the same data: the workspace's test split."""
    theirs = fetch_model(str(champion.number)).absolute() if champion else None
    ours, root = candidate.folder.absolute(), candidate.lock.parent
    with inside(root, {}):
        return measure(candidate.params, ours), measure(candidate.params, theirs) if theirs else None


def measure(params: Params, folder: Path) -> Figures:
    """Everything that the gate wants to know of one model."""
    model, _ = load_harmonizer(folder)
    disturbed = photographs_changed(params, model)
    return Figures(evaluate_harmonizer(params, model), disturbed.fmse if disturbed else None, prediction_ms(model), megabytes(folder))


def record(
    candidate: Candidate, figures: tuple[Figures, Figures | None], verdict: Verdict, run: Execution, circumstances: Mapping[str, str]
) -> int:
    """Register the candidate with all that it was made of, how it did, and why it is accepted or not; its number."""
    model, config = load_harmonizer(candidate.folder)
    metrics = candidate.lock.parent / candidate.params.paths.metrics / "ingest.json"
    lock = hashlib.sha256(candidate.lock.read_bytes()).hexdigest()
    origin = Origin(
        candidate.commit, candidate.data_version, lock, candidate.params.seed, dataclasses.asdict(config),
        sum(tensor.numel() for tensor in model.parameters()), read_json(metrics) if metrics.is_file() else {},
    )
    card = write_card(origin, *figures, verdict)
    kept = candidate.lock.parent / "data/work/kept"
    write_bytes(kept / "card.md", card.encode())
    write_json(kept / "verdict.json", verdict.as_json())
    write_json(kept / "data.json", {name: dataclasses.asdict(file) for name, file in candidate.data.items()})
    for path in (*sorted(kept.iterdir()), candidate.lock, candidate.lock.with_name("params.yaml")):
        run.artifact(path)
    run.log({f"gate.{rule.name}": rule.value for rule in verdict.rules if rule.value == rule.value})  # NaN is no metric
    tags = {
        **circumstances, "gate": verdict.word, "why": verdict.why[:500], "git_commit": candidate.commit, "dvc_lock": lock,
        "data_version": candidate.data_version,
        "model_sha256": hashlib.sha256((candidate.folder / "model.pt").read_bytes()).hexdigest(),
        **{f"out.{path}": digest for path, digest in locked_outputs(candidate.lock).items()},
    }
    return attempt(register_candidate, candidate.folder, run.run_id, card, tags)


def register_candidate(folder: Path, run_id: str, card: str, tags: dict[str, str]) -> int:
    """`register_model` under the name that Prefect shows."""
    return register_model(folder, run_id, card=card, tags=tags)


def conclude(params: Params, batch: Batch, version: int, verdict: Verdict, places: Places) -> str:
    """Promote the version and take its data in, or keep the champion and put the batch aside; which of the two."""
    if verdict.accepted:
        write_json(places.promotion, {"version": version, "batch": dataclasses.asdict(batch)})
        promote(version)
        take_in(batch, params)
        places.promotion.unlink()
        return "promoted"
    if batch.files:
        write_json(put_aside(batch, params) / "verdict.json", {**verdict.as_json(), "version": version})
    return "refused"


def tell(params: Params, message: Mapping[str, Any]) -> None:
    """Post `message` to the webhook, where there is one. Who cannot be told is no reason to fail."""
    if params.release.webhook:
        try:
            attempt(post_notice, params.release.webhook, {"project": "attune", **message})
        except OSError as error:
            console.print(f"[yellow]retrain: {error}[/yellow]")


def digest_of(values: Mapping[str, str]) -> str:
    """A short hash of names and hashes."""
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


def main() -> None:
    """The command `python -m flows.retrain`."""
    argparse.ArgumentParser(description="Retrain once on what is new in the inbox; promote the result if the gate lets it.").parse_args()
    exit_on_sigterm()
    follow_parent("MAKELEVEL")
    with faults_as_lines("retrain"), prefect_api():
        retrain()


if __name__ == "__main__":
    main()
