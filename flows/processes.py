"""Child processes that do not outlive us, however we end.

Each child leads a process group of its own. A guardian, started from this same file, reads the groups' numbers from a pipe; when the pipe
closes because we are gone, even by SIGKILL, it ends every group that is left. Only the standard library is imported: it starts in 20 ms.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

GRACE_SECONDS = 8.0  # between SIGTERM and SIGKILL: a stage reports its end to Prefect and MLflow in under two
FOLLOW_SECONDS = 0.5  # between two looks at the parent
SHELLS = {"sh", "dash", "bash", "zsh", "fish"}


class Leash:
    """Starts commands, each leading a process group; all groups end with the `with` block, or with this process if it is killed."""

    def __enter__(self) -> "Leash":
        self._children: list[subprocess.Popen[Any]] = []
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
        self._guardian = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children[:]):
            self.end(child)
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        self._guardian.wait()

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start `command` as the leader of a process group of its own, without a terminal's input."""
        child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **options)
        self._tell(f"+{child.pid}")
        self._children.append(child)
        return child

    def end(self, child: "subprocess.Popen[Any]") -> None:
        """End what is left of `child`'s group, politely first."""
        end_groups([child.pid], reap=child.poll)
        child.wait()
        self._children.remove(child)
        self._tell(f"-{child.pid}")

    def _tell(self, line: str) -> None:
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(line + "\n")


def end_groups(groups: Iterable[int], reap: Callable[[], Any] = lambda: None) -> None:
    """Send SIGTERM to process groups, wait until they are empty, and after `GRACE_SECONDS` send SIGKILL."""
    left = [group for group in groups if _signal(group, signal.SIGTERM)]
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        reap()
        left = [group for group in left if _has_members(group)]
        time.sleep(0.02)
    for group in left:
        _signal(group, signal.SIGKILL)


def follow_parent(variable: str) -> None:
    """Where `variable` is in the environment, end this process by SIGTERM once the program that set it, the nearest ancestor that is no
    shell, is gone: `make` and `dvc` wait for us, but cannot tell us that they were killed.
    """
    if variable not in os.environ:
        return
    import psutil  # not at the top: the guardian runs this file without any package

    parent = next((process for process in psutil.Process().parents() if process.name() not in SHELLS), None)
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(FOLLOW_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that `with` blocks clean up; call it in the main thread."""
    signal.signal(signal.SIGTERM, _raise_exit)


def _raise_exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group whose last member is a zombie
        return False
    return True


def _has_members(group: int) -> bool:
    """Whether a process group has a member that is no zombie: in a container nobody may reap orphans, and signals still reach those."""
    if not os.path.isdir("/proc/self"):
        return _signal(group, 0)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as handle:
                    state, _parent, member_of = handle.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(member_of) == group and state not in "ZX":
                return True
    return False


def _guard() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    end_groups(groups)


if __name__ == "__main__":
    _guard()
