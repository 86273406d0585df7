"""Fit SycoNet: a conditional VAE over 3D LUTs learns how composites differ from their targets."""

from prefect import flow

from flows.console import progress
from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.fit_syconet import fit_syconet as fit
from tasks.params import load_params


@flow(name="fit_syconet")
def fit_syconet() -> None:
    """Train SycoNet's two branches and save them."""
    params = load_params()
    with tracked_run("fit_syconet", params) as run, progress("fit syconet") as advance:
        run.finish(fit(params, run.report, advance))


if __name__ == "__main__":
    run_stage(fit_syconet)
