"""The union's SycoNet fine-tuned on one domain: a source, or one of its sub-sets, whose composites differ in their own way.

Source: Niu et al., ICCV 2023: trained on all of iHarmony4, then fine-tuned on the set that is to be augmented.
"""

from hashlib import sha256

import torch

from tasks.augmentation.fitting import measure, measure_alone, read_held_out, save, train
from tasks.augmentation.syconet_training import Advance, Report, SycoNetTrainer
from tasks.params import Params
from tasks.syconet_files import load_syconet


def finetune_syconet(params: Params, domain: str, report: Report, advance: Advance) -> dict[str, float]:
    """Go on with the union's SycoNet for `finetune_syconet.steps` on the pairs of `domain`, and save it to the domain's own folder.

    Resumes a killed run of the same key from `paths.work`, exactly. Raises ValueError if `domain` has no pairs of a split, or
    there is no union's SycoNet. Metrics: as `fit_syconet`'s, on the domain's validation pairs, and the union's on the same ones (`union_`).
    """
    torch.set_num_threads(params.syconet.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    held_out = read_held_out(params, domain)
    union, _ = load_syconet(params.paths.syconet)
    trainer = SycoNetTrainer(params.syconet, params.seed, device)
    trainer.continue_from(union.state_dict(), params.finetune_syconet.steps)
    checkpoint = params.paths.work / "finetune_syconet" / f"{domain.replace('/', '_')}.pt"
    came_from = sha256((params.paths.syconet / "model.pt").read_bytes()).hexdigest()
    model = train(params, trainer, domain=domain, came_from=came_from, checkpoint=checkpoint, report=report, advance=advance)
    before = measure_alone(params, union, held_out)
    metrics = {**measure(params, model, held_out).metrics, **{f"union_{name}": value for name, value in before.items()}}
    report(metrics, params.finetune_syconet.steps)
    save(params, domain, model, held_out, metrics)
    checkpoint.unlink(missing_ok=True)
    return metrics
