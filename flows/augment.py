"""Augment: the frozen SycoNet makes new composites of each training target; they join the original pairs in WebDataset shards."""

from prefect import flow

from flows.console import working
from flows.stage import map_units, run_stage
from flows.tracking import tracked_run
from tasks.augment import finish_augment, plan_augment, write_pair_shard
from tasks.params import load_params


@flow(name="augment")
def augment() -> None:
    """Write the training and validation shards and their manifest."""
    params = load_params()
    with tracked_run("augment", params) as run:
        with working("augment: planning"):
            units = plan_augment(params)
        results = map_units(write_pair_shard, params, units, num_workers=params.speed.num_workers, executor=params.speed.executor)
        with working("augment: finishing"):
            run.finish(finish_augment(params, results))


if __name__ == "__main__":
    run_stage(augment)
