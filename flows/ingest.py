"""Ingest: every configured source becomes rows of the index, opened, checked and split; bare photographs become composites."""

from typing import Any

from prefect import flow

from flows.console import working
from flows.stage import map_units, run_stage
from flows.tracking import tracked_run
from tasks.ingest import finish_ingest, plan_ingest, settle_ingest
from tasks.ingestion.check_chunks import check_chunk
from tasks.ingestion.composite_chunks import compose_chunk
from tasks.ingestion.report import write_data_report
from tasks.params import load_params


@flow(name="ingest")
def ingest() -> None:
    """Write the index, the composites made for it, the table of rejects and that of duplicates."""
    params = load_params()
    workers: Any = {"num_workers": params.speed.num_workers, "executor": params.speed.executor}
    with tracked_run("ingest", params) as run:
        with working("ingest: listing"):
            checks = plan_ingest(params)
        map_units(check_chunk, params, checks, **workers)
        with working("ingest: settling"):
            composites = settle_ingest(params)
        map_units(compose_chunk, params, composites, **workers)
        with working("ingest: finishing"):
            for output in (params.paths.starter, params.paths.prepared):
                output.mkdir(parents=True, exist_ok=True)  # DVC wants each output there, empty where no source needs it
            run.finish(finish_ingest(params))
            run.artifact(write_data_report(params))


if __name__ == "__main__":
    run_stage(ingest)
