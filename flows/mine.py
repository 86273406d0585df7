"""Mine: foregrounds meet other photographs' backgrounds; the real composites that pass become recipes and shards."""

from prefect import flow

from flows.console import working
from flows.stage import map_units, run_stage
from flows.tracking import tracked_run
from tasks.mine import finish_mine, plan_mine, render_shard
from tasks.params import load_params


@flow(name="mine")
def mine() -> None:
    """Write the table of recipes and the shards of real composites."""
    params = load_params()
    with tracked_run("mine", params) as run:
        with working("mine: planning"):
            units = plan_mine(params)
        results = map_units(render_shard, params, units, num_workers=params.mine.num_workers)
        with working("mine: finishing"):
            run.finish(finish_mine(params, results))


if __name__ == "__main__":
    run_stage(mine)
