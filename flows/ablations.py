"""Studies: many small trainings that check a claim. DVC runs the parts (ablations/dvc.yaml), `report` puts their results together.

    python -m flows.ablations plan|judge|baselines|report STUDY
    python -m flows.ablations workspace|cell STUDY NAME

A part is one process on one core, without Prefect: DVC knows which parts there are, and goes on where a killed study stood.
"""

import argparse
from collections.abc import Callable

from flows.console import console, faults_as_lines
from flows.processes import exit_on_sigterm, follow_parent
from tasks.ablations.plans import plan_study, read_cell_plan, read_workspace_plan, study_folder, write_plan
from tasks.ablations.study_params import STUDIES, StudyName, StudyParams, load_study_params
from tasks.params import Params, load_params


def plan(name: StudyName, study: StudyParams, params: Params) -> None:
    """Write the plans of a study's workspaces and cells."""
    planned = plan_study(name, study, params)
    write_plan(study_folder(study, name) / "plan", planned)
    console.print(f"{name}: {len(planned.workspaces)} workspaces, {len(planned.cells)} cells of {len(study.seeds)} trainings")


def workspace(name: StudyName, study: StudyParams, params: Params, which: str) -> None:
    """Make one workspace."""
    from tasks.ablations.workspaces import make_workspace

    planned = read_workspace_plan(study_folder(study, name) / "plan" / "workspaces" / f"{which}.json")
    make_workspace(planned, params, _saying(f"{name} {which}"))


def cell(name: StudyName, study: StudyParams, params: Params, which: str) -> None:
    """Train and measure one cell."""
    from tasks.ablations.cells import run_cell

    folder = study_folder(study, name)
    planned = read_cell_plan(folder / "plan" / "cells" / f"{which}.json")
    run_cell(planned, params, folder / "results" / f"{which}.json", _saying(f"{name} {which}"))


def baselines(name: StudyName, study: StudyParams, params: Params) -> None:
    """Measure doing nothing and the classical baselines on a study's test pairs."""
    from tasks.ablations.cells import measure_baselines

    folder = study_folder(study, name)
    measure_baselines(read_cell_plan(folder / "plan" / "baselines.json"), params, folder / "results" / "baselines.json")


def judge(name: StudyName, study: StudyParams, params: Params) -> None:
    """Train the discriminator that judges real composites."""
    from tasks.ablations.judge import train_judge

    folder = study_folder(study, name)
    figures = train_judge(read_cell_plan(folder / "plan" / "judge.json"), params, folder / "judge")
    console.print(f"{name}: judge, " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))


def report(name: StudyName, study: StudyParams, params: Params) -> None:
    """Write a study's findings for the report's page, and keep them with an MLflow run of the study."""
    from flows.tracking import tracked_execution
    from tasks.ablations.results import read_results
    from tasks.ablations.study_findings import study_findings
    from tasks.evaluation.findings import write_finding

    planned = plan_study(name, study, params)
    results = read_results(study_folder(study, name), cells=list(planned.cells), workspaces=list(planned.workspaces))
    findings = study_findings(name, planned, study, results)
    with tracked_execution(f"study {name}") as run:
        run.log({f"{which}.{key}": value for which in planned.cells for key, value in results.metrics(which).items()})
        for key, finding in findings.items():
            path = write_finding(params.paths.metrics, key, finding)
            run.artifact(path)
            console.print(f"[bold]{finding.title}[/bold]\n{finding.note}\n{path}\n", highlight=False)


def _saying(about: str) -> Callable[[str], None]:
    return lambda said: console.print(f"{about}: {said}", highlight=False)


def main() -> None:
    """The command `python -m flows.ablations`."""
    parser = argparse.ArgumentParser(description="A part of a study, or its findings.")
    parser.add_argument("part", choices=[*WHOLE, *NAMED])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("name", nargs="?")
    arguments = parser.parse_args()
    if (arguments.part in NAMED) != (arguments.name is not None):
        parser.error(f"a name belongs to {' and '.join(NAMED)}, and to nothing else")
    exit_on_sigterm()
    follow_parent("DVC_STAGE")
    with faults_as_lines("ablations"):
        settings = arguments.study, load_study_params(), load_params()
        if arguments.part in NAMED:
            NAMED[arguments.part](*settings, arguments.name)
        else:
            WHOLE[arguments.part](*settings)


WHOLE = {"plan": plan, "baselines": baselines, "judge": judge, "report": report}
NAMED = {"workspace": workspace, "cell": cell}

if __name__ == "__main__":
    main()
