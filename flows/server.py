"""One Prefect server for a whole execution: the one that is configured, or one of our own that is gone at the end."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.processes import Leash

START_UP_SECONDS = 300.0  # a cold disk and a fresh database take 20; a machine that works on ten other things, over 120
POLL_SECONDS = 0.05

# A server that lives for minutes and that nobody looks at needs no page and no schedules.
LEAN = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


@dataclass(frozen=True)
class BootingServer:
    """A Prefect server on its way up."""

    process: "subprocess.Popen[Any]"
    port: int
    log: Path

    def wait(self) -> str:
        """The server's API address, once it answers. Raises RuntimeError with the end of its log if it does not."""
        deadline = time.monotonic() + START_UP_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if _is_healthy(self.port):
                return f"http://127.0.0.1:{self.port}/api"
            time.sleep(POLL_SECONDS)
        said = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the Prefect server did not start; if its database is damaged, delete {self.log.parent}.\n{said}")


def boot_server(leash: Leash, *, port: int = 0, home: Path | None = None, lean: bool = True) -> BootingServer:
    """Start a Prefect server on the loopback without waiting for it.

    port: 0 is any free one. home: where it keeps its records, by default Prefect's own. lean: no page and no schedules.
    Raises ValueError if the port is taken.
    """
    from prefect.settings import get_current_settings

    home = home or get_current_settings().home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port {port} of the loopback is taken ({error.strerror}); choose another") from error
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
               "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    with open(log, "wb") as output:
        environment = os.environ | (LEAN if lean else {}) | {"PREFECT_HOME": str(home)}
        process = leash.start(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    return BootingServer(process, port, log)


def configured_api() -> str | None:
    """The Prefect API that the environment or a Prefect profile names; None where there is none."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


@contextmanager
def prefect_api() -> Iterator[str]:
    """The configured Prefect API, or else a server of our own for the length of the block."""
    if (url := configured_api()) is not None:
        yield url
        return
    with Leash() as leash, using_api(boot_server(leash).wait()) as url:
        yield url


@contextmanager
def using_api(url: str) -> Iterator[str]:
    """Have this process's flows talk to `url`; on the way out their log is sent, while the server is still there."""
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        try:
            yield url
        finally:
            APILogHandler().flush()


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)  # urllib would go through a proxy
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
