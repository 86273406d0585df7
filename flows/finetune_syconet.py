"""Fine-tune the union's SycoNet on one domain of `finetune_syconet.domains`: `python -m flows.finetune_syconet photos/coco`."""

from prefect import flow

from flows.console import progress
from flows.stage import run_stage
from flows.tracking import tracked_run
from tasks.finetune_syconet import finetune_syconet as finetune
from tasks.params import load_params


@flow(name="finetune_syconet")
def finetune_syconet(domain: str) -> None:
    """Fine-tune SycoNet on the pairs of `domain` and save it."""
    params = load_params()
    with tracked_run(f"finetune_syconet@{domain}", params) as run, progress(f"finetune syconet, {domain}") as advance:
        run.finish(finetune(params, domain, run.report, advance))


if __name__ == "__main__":
    run_stage(finetune_syconet)
