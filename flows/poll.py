"""Poll: the votes of the poll become scores with intervals, in MLflow, in the report's findings and as a Prefect artifact."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from rich.table import Column, Table

from flows.console import console
from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.params import load_params
from tasks.poll.scores import PollScores, fit_poll


@flow(name="poll")
def poll() -> None:
    """Fit the votes, write `scores.json`, `scores.png` and the finding `poll`, and print the table."""
    params = load_params()
    with tracked_run("poll", params) as run:
        found = fit_poll(params)
        run.report(as_metrics(found), 0)
        for name in ("scores.json", "scores.png"):
            run.artifact(params.poll.folder / name)
    described = f"{found.num_votes} votes of {found.num_raters} raters on {found.num_images} images, poll {found.poll}"
    create_table_artifact(key="poll-scores", table=[vars(row) for row in found.methods], description=described)
    console.print(as_rich_table(found, described))


def as_metrics(found: PollScores) -> dict[str, float]:
    """The scores, their limits, and the poll's size, for MLflow."""
    metrics = {name: float(getattr(found, name)) for name in ("num_votes", "num_raters", "num_images", "num_neither")}
    for row in found.methods:
        metrics |= {f"score.{row.method}": row.score, f"score_low.{row.method}": row.low, f"score_high.{row.method}": row.high}
    return metrics


def as_rich_table(found: PollScores, title: str) -> Table:
    """The methods, best first."""
    columns = [Column(name, justify="right") for name in ("score", "95 %", "best in", "preferred", "votes")]
    table = Table("method", *columns, title=title, title_justify="left")
    for row in found.methods:
        interval = f"{row.low:+.2f} to {row.high:+.2f}"
        table.add_row(row.method, f"{row.score:+.2f}", interval, f"{row.share_best:.0%}", f"{row.share_preferred:.0%}", str(row.num_votes))
    return table


if __name__ == "__main__":
    run_stage(poll)
