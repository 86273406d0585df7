"""Mine: foregrounds meet other photographs' backgrounds; the real composites that pass become recipes and shards."""

import base64
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_image_artifact

from attune.images import encode_jpeg, read_image
from flows.console import working
from flows.stage import map_units, run_stage
from flows.tracking import TrackedRun, tracked_run
from tasks.mine import finish_mine, plan_mine, render_shard
from tasks.params import load_params


@flow(name="mine")
def mine() -> None:
    """Write the table of recipes and the shards of real composites."""
    params = load_params()
    with tracked_run("mine", params) as run:
        with working("mine: planning"):
            units = plan_mine(params)
        results = map_units(render_shard, params, units, num_workers=params.speed.num_workers, executor=params.speed.executor)
        with working("mine: finishing"):
            run.finish(finish_mine(params, results))
            show_pictures(run, params.paths.mined)


def show_pictures(run: TrackedRun, folder: Path) -> None:
    """Keep plots and contact sheets with the MLflow run, and the sheets as Prefect artifacts."""
    for path in sorted(folder.glob("*.png")):
        run.artifact(path)
    for path in sorted(folder.glob("sheet_*.png")):
        create_image_artifact(
            as_data_url(path), key=path.stem.replace("_", "-"), description="Mined composites: pasted, outlined, and the natural sample"
        )


def as_data_url(path: Path) -> str:
    """A picture as a JPEG inside a URL: Prefect's pages cannot load files of this machine."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(read_image(path), 85)).decode()


if __name__ == "__main__":
    run_stage(mine)
