"""Ingest: every configured source becomes rows of the index, opened, checked and split; bare photographs become composites."""

from prefect import flow

from flows.console import working
from flows.stage import map_units, run_stage
from flows.tracking import tracked_run
from tasks.ingest import finish_ingest, ingest_chunk, plan_ingest
from tasks.params import load_params


@flow(name="ingest")
def ingest() -> None:
    """Write the index, the composites made for it, and the table of rejects."""
    params = load_params()
    with tracked_run("ingest", params) as run:
        with working("ingest: planning"):
            units = plan_ingest(params)
        results = map_units(ingest_chunk, params, units, num_workers=params.ingest.num_workers)
        with working("ingest: finishing"):
            for output in (params.paths.starter, params.paths.prepared):
                output.mkdir(parents=True, exist_ok=True)  # DVC wants each output there, empty where no source needs it
            run.finish(finish_ingest(params, results))


if __name__ == "__main__":
    run_stage(ingest)
