"""Scheduled retraining on one machine: a Prefect server, the deployments of prefect.yaml, and a worker that runs them.

Everything listens on the loopback alone, and ends with this process, however it ends. The server keeps its records in `.prefect/serve`,
apart from those of the servers that `make pipeline` starts for itself.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from flows.console import console, faults_as_lines, working
from flows.processes import Leash, exit_on_sigterm, follow_parent
from flows.server import boot_server, using_api

POOL = "attune"
HOME = Path(".prefect/serve")
PORT = 4200
POLL_SECONDS = 0.5
CUT_OFF = "Its process was gone when the server started."


def serve(port: int) -> None:
    """Serve until a signal, or until server or worker end by themselves. Raises ValueError if one cannot start, or ends."""
    home = HOME.absolute()
    with Leash() as leash:
        with working("serve: starting"):
            server = boot_server(leash, port=port, home=home, lean=False)
            url = server.wait()
            environment = {
                **os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(home), "PWD": str(Path.cwd()), "PYTHONUNBUFFERED": "1",
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            }
            with using_api(url):
                make_pool()
                end_cut_off_runs()
            deploy(environment)
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1"]
        worker = leash.start(command, env=environment)
        console.print(f"serve: retraining as prefect.yaml says. Runs and schedule: {url.removesuffix('/api')}   Ctrl-C ends it")
        while worker.poll() is None and server.process.poll() is None:
            time.sleep(POLL_SECONDS)
        ended = "worker" if worker.poll() is not None else "server"
        raise ValueError(f"the {ended} ended by itself; {server.log} may say why")


def make_pool() -> None:
    """Make the work pool, where there is none yet."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))


def end_cut_off_runs() -> None:
    """Call crashed what a killed server believed to be running: it would hold the only place for ever."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    under_way = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=under_way))):
            client.set_flow_run_state(run.id, Crashed(message=CUT_OFF), force=True)


def deploy(environment: dict[str, str]) -> None:
    """Have the server know the deployments of prefect.yaml. Raises ValueError with what Prefect says if it cannot read them."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"prefect.yaml cannot be deployed: {(done.stdout + done.stderr).strip()[-1000:]}")


def main() -> None:
    """The command `python -m flows.serve`."""
    parser = argparse.ArgumentParser(description="Retrain on the schedule of prefect.yaml, until stopped.")
    parser.add_argument("--port", type=int, default=PORT, help=f"the server's, on the loopback; by default {PORT}")
    arguments = parser.parse_args()
    exit_on_sigterm()
    follow_parent("MAKELEVEL")
    with faults_as_lines("serve"):
        serve(arguments.port)


if __name__ == "__main__":
    main()
