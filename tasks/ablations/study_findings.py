"""What each study says of the papers' claims, as the figures have it: yes, no, or not beyond the seeds' spread."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from tasks.ablations.measuring import GROUP, LIGHT, METHOD, WHOLE
from tasks.ablations.plans import StudyPlan
from tasks.ablations.results import Results, Spread, between, percent, spread
from tasks.ablations.study_params import EVERYTHING, StudyName, StudyParams
from tasks.evaluation.findings import Estimate, Finding
from tasks.evaluation.measurements import COMPOSITE

SECTION: Literal["ablations and claims"] = "ablations and claims"
FMSE = "fMSE, squared grey levels"
SEEDS = "Values are means over seeds, intervals reach from the lowest to the highest of them."
AXIS = "training photographs"


def study_findings(name: StudyName, plan: StudyPlan, study: StudyParams, results: Results) -> dict[str, Finding]:
    """The findings of a study, by the name of their file."""
    makers: dict[StudyName, Callable[[StudyPlan, StudyParams, Results], dict[str, Finding]]] = {
        "augmentation": augmentation_findings, "ablation": ablation_findings, "cross_source": cross_source_findings,
        "parts": parts_findings,
    }
    return makers[name](plan, study, results)


def augmentation_findings(plan: StudyPlan, study: StudyParams, results: Results) -> dict[str, Finding]:
    """The error over the number of photographs, and what each augmentation takes off it."""
    own = study.augmentation
    sizes = {size: float(found["photographs"]) for size, found in results.workspaces.items()}
    values: list[Estimate] = []
    gains: list[Estimate] = []
    for harmonizer in own.harmonizers:
        values += [Estimate(COMPOSITE, results.untouched(), group=harmonizer, at=at) for at in sizes.values()]
        for augmentation in own.augmentations:
            for size, at in sizes.items():
                cell = f"{size}-{harmonizer}-{augmentation}"
                values.append(results.fmse(cell).estimate(augmentation, group=harmonizer, at=at))
                gain = results.gain(cell, f"{size}-{harmonizer}-none").times(100)
                gains.append(gain.estimate(augmentation, group=harmonizer, at=at))
    fitted = ", ".join(f"{size}: {found['syconet']['reconstruction_ratio']:.2f}" for size, found in results.workspaces.items())
    note = (
        "Nested subsets of the training photographs. SycoNet is fitted on each subset's own pairs; when it rebuilds held-out composites it "
        f"leaves of their fMSE {fitted}. {budget(plan)} {beside(results, WHOLE)} {SEEDS}"
    )
    claims = "\n".join(_augmentation_claims(harmonizer, list(sizes), results) for harmonizer in own.harmonizers)
    return {
        "augmentation": Finding(
            section=SECTION, title="Does SycoNet's augmentation help, and where?", note=note, measure=FMSE, better="lower",
            estimates=tuple(values), command="make augmentation-study", axis=AXIS,
        ),
        "augmentation_gain": Finding(
            section=SECTION, title="What each augmentation takes off the error", note=claims, better="higher",
            measure="percent of the fMSE without augmentation that is gone, seed by seed", estimates=tuple(gains),
            command="make augmentation-study", axis=AXIS,
        ),
    }


def ablation_findings(plan: StudyPlan, study: StudyParams, results: Results) -> dict[str, Finding]:
    """Every configuration on photographs and on retouched pairs, and what two judges say of real composites."""
    cells = list(plan.cells)
    parts = {"all test pairs": WHOLE, "retouched pairs": f"{METHOD}retouch", "retouched, with a gradient of light": LIGHT}
    parts = {title: part for title, part in parts.items() if results.num_images(part)}
    estimates = [
        results.fmse(cell, part).estimate(cell, group=f"{title} ({results.num_images(part)})")
        for title, part in parts.items() for cell in cells
    ]
    said = [f"Each configuration but the named part is the dual stream with both halves of the edit on mined composites. {budget(plan)}"]
    said += [f"{title.capitalize()}: {beside(results, part)}" for title, part in parts.items()]
    for title, part in parts.items():
        below = ", ".join(f"{cell} {percent(results.gain(cell, 'dual', part))}" for cell in cells if cell != "dual")
        said.append(f"{title.capitalize()}, below the dual stream by (above it where negative): {below}.")
    if LIGHT in parts.values():
        margin = results.margin("dual", "curves", LIGHT)
        said.append(
            f"Where a gradient of light of {study.ablation.least_light:g} stops and more lies over the frame, curves and shading are below "
            f"curves alone by {margin} squared grey levels, {percent(results.gain('dual', 'curves', LIGHT))}: {verdict(margin)}."
        )
    findings = {"ablation": Finding(
        section=SECTION, title="What do the two streams, curves, shading and mining add?", note="\n".join([*said, SEEDS]), measure=FMSE,
        better="lower", estimates=tuple(estimates), command="make ablation",
    )}
    return findings | _real_findings(cells, results)


def cross_source_findings(plan: StudyPlan, study: StudyParams, results: Results) -> dict[str, Finding]:
    """What is left of the error on each group of sub-sets by a training that never saw it, beside that of one that did."""
    estimates, said, lost = [], [], []
    for name in study.cross_source.groups:
        part = f"{GROUP}{name}"
        seen, unseen = results.left(EVERYTHING, part), results.left(name, part)
        more = [mine - other for mine, other in zip(unseen, seen, strict=True)]
        lost.append(more)
        group = f"{name} ({results.num_images(part)} test pairs)"
        estimates += [
            spread(seen).estimate("trained on everything", group=group), spread(unseen).estimate(f"trained without {name}", group=group),
        ]
        said.append(f"{name}: {beside(results, part)} Without it {spread(more)} more of that is left: {verdict(spread(more))}.")
    mean = spread([fmean(each) for each in zip(*lost, strict=True)])
    said.append(f"Mean over {len(lost)} groups: {mean} more of the composites' fMSE is left without the group: {verdict(mean)}.")
    return {"cross_source": Finding(
        section=SECTION, title="Does it carry over to sources it never saw?", note="\n".join([budget(plan), *said, SEEDS]),
        measure="share of the untouched composites' fMSE that is left", better="lower", estimates=tuple(estimates),
        command="make cross-source",
    )}


def parts_findings(plan: StudyPlan, study: StudyParams, results: Results) -> dict[str, Finding]:
    """What is left of the error by the whole architecture, and with each configuration that differs in one thing."""
    names = list(study.parts.configurations)
    left = {name: results.left_at_own_size(name) for name in names}
    said = []
    for name in names[1:]:
        more = spread([mine - whole for mine, whole in zip(left[name], left[names[0]], strict=True)])
        said.append(f"{name.replace('_', ' ').capitalize()}: {more} more of the composites' fMSE is left: {verdict(more)}.")
    return {"parts": Finding(
        section=SECTION, title="What does each part of the architecture add?",
        note="\n".join([budget(plan), beside(results, WHOLE), *said, SEEDS]),
        measure="share of the untouched composites' fMSE that is left", better="lower",
        estimates=tuple(spread(left[name]).estimate(name.replace("_", " ")) for name in names), command="make parts-study",
    )}


def verdict(difference: Spread) -> str:
    """Whether a difference is above 0, in words that go no further than the seeds do."""
    if difference.low > 0:
        return "yes, with every seed"
    return "no, with every seed" if difference.high < 0 else "not beyond the spread over seeds"


def budget(plan: StudyPlan) -> str:
    """What one training is, in a sentence; ranges where cells differ."""
    trains = [cell.params["train"] for cell in plan.cells.values()]
    steps = between(sorted({train["optimizer"]["steps"] for train in trains}))
    size = between(sorted({train["model"]["size"] for train in trains}))
    images = between(sorted({train["data"]["batch_size"] * (2 if train["data"]["augmentation"] == "dynamic" else 1) for train in trains}))
    models = between(sorted({_model_name(train["model"]) for train in trains}), " and ")
    num_seeds = len(next(iter(plan.cells.values())).seeds)
    return f"Each training: {steps} steps of {images} images at {size} px, {models}, {num_seeds} seeds; all test pairs at that size."


def _model_name(model: Mapping[str, Any]) -> str:
    width = model["options"][model["architecture"]].get("width")
    return f"{model['architecture']}{'' if width is None else f' of width {width}'}"


def beside(results: Results, part: str) -> str:
    """What doing nothing and the best baseline reach."""
    name, fmse = results.best_baseline(part)
    return (
        f"The {results.num_images(part):,} untouched composites have {results.untouched(part):,.0f}, the best classical baseline "
        f"({name.replace('_', ' ')}) {fmse:,.0f}."
    )


def _augmentation_claims(harmonizer: str, sizes: Sequence[str], results: Results) -> str:
    few, many = (results.gains(f"{size}-{harmonizer}-dynamic", f"{size}-{harmonizer}-none") for size in (sizes[0], sizes[-1]))
    more = spread([first - last for first, last in zip(few, many, strict=True)])
    at_least = ", ".join(
        f"{size} photographs {percent(gain)}, {verdict(gain)}" for size in sizes
        for gain in [results.gain(f"{size}-{harmonizer}-dynamic", f"{size}-{harmonizer}-static")]
    )
    return (
        f"{harmonizer.capitalize()}: dynamic augmentation takes {percent(spread(few))} off the error with {sizes[0]} photographs and "
        f"{percent(spread(many))} with {sizes[-1]}. Is the gain larger on the small set? {verdict(more).capitalize()}. "
        f"Is dynamic below static? With {at_least}."
    )


def _real_findings(cells: Sequence[str], results: Results) -> dict[str, Finding]:
    judges = {
        "probe": "held-out probe of colour and light, in standard deviations of natural photographs",
        "judge": "discriminator trained apart, mean logit inside the mask",
    }
    known = [judge for judge in judges if all(judge in found for cell in cells for found in results.cells[cell].values())]
    if not known:
        return {}
    estimates = [results.change(cell, judge).estimate(cell, group=judges[judge]) for judge in known for cell in cells]
    first = next(iter(results.cells[cells[0]].values()))
    befores = "; ".join(f"{judge} {first[judge]['before']:.2f}, natural photographs {first[judge]['natural']:.2f}" for judge in known)
    note = (
        f"Real composites without ground truth that nobody trained on: what judges say after harmonizing minus before ({befores}). None of "
        "them had a part in any training: the discriminator learned from untouched mined composites and natural photographs alone. "
        f"{SEEDS}"
    )
    blind = [judge for judge in known if first[judge]["before"] >= first[judge]["natural"]]
    if blind:
        note += f"\nUntouched composites score no lower than photographs with the {' and the '.join(blind)}: what it says means little."
    return {"ablation_real": Finding(
        section=SECTION, title="Do the configurations make real composites look more natural?", note=note,
        measure="score after minus before", better="higher", estimates=tuple(estimates), command="make ablation",
    )}
