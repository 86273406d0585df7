"""Report: what was measured as one page, with a sheet of pictures per benchmark."""

from prefect import flow

from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.params import load_params
from tasks.report import make_report


@flow(name="report")
def report() -> None:
    """Write the report from what `evaluate` measured."""
    params = load_params()
    with tracked_run("report", params) as run:
        make_report(params)
        run.artifact(params.paths.report)


if __name__ == "__main__":
    run_stage(report)
