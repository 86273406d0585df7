"""SycoNet fitted to the union of all training pairs, measured on validation pairs; see `tasks.augmentation.syconet_training`."""

import torch

from tasks.augmentation.domains import UNION
from tasks.augmentation.fitting import measure, read_held_out, save, train
from tasks.augmentation.quality_report import MAX_PAIRS, quality_finding
from tasks.augmentation.syconet_training import Advance, Report, SycoNetTrainer
from tasks.evaluation.findings import write_finding
from tasks.params import Params


def fit_syconet(params: Params, report: Report, advance: Advance) -> dict[str, float]:
    """Train SycoNet on the index's training pairs and save it, with a sheet, to `paths.syconet`; its figures on the validation pairs.

    Resumes a killed run of the same key from `paths.work`, exactly. Raises ValueError if the index lacks pairs of a split.
    Metrics: those of `measure_latent` and `quality_metrics`, and `collapsed`. Coverage becomes a finding of the report.
    """
    torch.set_num_threads(params.syconet.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    held_out = read_held_out(params, UNION)
    checkpoint = params.paths.work / "fit_syconet.pt"
    trainer = SycoNetTrainer(params.syconet, params.seed, device)
    model = train(params, trainer, domain=UNION, came_from="", checkpoint=checkpoint, report=report, advance=advance)
    found = measure(params, model, held_out)
    report(found.metrics, params.syconet.steps)
    save(params, UNION, model, held_out, found.metrics)
    num_pairs = min(MAX_PAIRS, len(held_out.rows))
    finding = quality_finding(found.quality, num_pairs=num_pairs, identity_fmse=found.metrics["identity_fmse"])
    write_finding(params.paths.metrics, "syconet_quality", finding)
    checkpoint.unlink(missing_ok=True)
    return dict(found.metrics)
