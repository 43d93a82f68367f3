# SPDX-License-Identifier: Apache-2.0
"""The lab's own background processes: each the leader of a session, known by its recorded process id."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.cloud.timeline import LabError

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 4.0


Command = Sequence[str | Path]


@dataclasses.dataclass(frozen=True)
class _Stat:
    """What /proc/PID/stat tells of a process (proc(5)): state, session, start time in clock ticks."""

    state: str
    session: int
    start_time: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, field 2, is in parentheses and may contain anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], session=int(fields[3]), start_time=int(fields[19]))


class Processes:
    """Starts, finds and stops processes by the records in a directory, one file for each."""

    def __init__(self, records: Path, logs: Path):
        self._records = records
        self._logs = logs
        self._starting = threading.Lock()
        self._closed = False

    def log(self, name: str) -> Path:
        """Where the process's own output goes."""
        return self._logs / f"{name}.out"

    def start(self, name: str, command: Command, env: Mapping[str, str] | None = None) -> int:
        """Start a process that outlives this one; its process id.

        :param env: added to this process's environment.
        :raises LabError: after `close`
        """
        return self.open(name, command, env).pid

    def run(self, name: str, command: Command) -> None:
        """Run a command to its end.

        :raises LabError: it failed; after `close`
        """
        status = self.open(name, command).wait()
        self.forget(name)
        if status:
            raise LabError(f"{name} failed with status {status}", self.log(name))

    def open(
        self,
        name: str,
        command: Command,
        env: Mapping[str, str] | None = None,
        *,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start a process and record it; its output goes to `log`.

        :raises LabError: after `close`
        """
        self._records.mkdir(parents=True, exist_ok=True)
        with self._starting, self.log(name).open("ab") as log:
            if self._closed:
                raise LabError(f"{name} is not started any more")
            process = subprocess.Popen(
                [str(word) for word in command],
                env={**os.environ, **(env or {})},
                stdin=stdin,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                text=True,
                start_new_session=True,
            )
            stat = _stat(process.pid)
            start_time = stat.start_time if stat else 0
            (self._records / name).write_text(f"{process.pid} {start_time}\n")
        return process

    def forget(self, name: str) -> None:
        """Remove the record of a process that has ended."""
        (self._records / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Refuse to start further processes."""
        with self._starting:
            self._closed = True

    def names(self) -> list[str]:
        """All processes that were started and not yet stopped, including dead ones."""
        if not self._records.is_dir():
            return []
        return sorted(path.name for path in self._records.iterdir())

    def pid(self, name: str) -> int | None:
        """The process id, None if it does not run."""
        record = self._read(name)
        if record is None:
            return None
        pid, start_time = record
        stat = _stat(pid)
        # The kernel gives a number to another process one day: the start time tells them apart.
        running = stat is not None and stat.state != "Z" and stat.start_time == start_time
        return pid if running else None

    def stop(self, *names: str) -> None:
        """Stop processes and all their children with SIGTERM, and after some seconds with SIGKILL."""
        for name in names:
            pid = self.pid(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(self._session(name) for name in names):
            time.sleep(_POLL_SECONDS)
        self.kill(*names)

    def kill(self, *names: str) -> None:
        """End processes and all that they started with SIGKILL, without warning."""
        for name in names:
            for pid in self._session(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        while any(self._session(name) for name in names):
            time.sleep(_POLL_SECONDS)
        for name in names:
            self.forget(name)

    def _read(self, name: str) -> tuple[int, int] | None:
        try:
            pid, start_time = (self._records / name).read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid), int(start_time)

    def _session(self, name: str) -> list[int]:
        """The running processes of a session that the named process began."""
        record = self._read(name)
        if record is None:
            return []
        leader, start_time = record
        stat = _stat(leader)
        if stat is not None and stat.start_time != start_time:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                stat = _stat(int(entry.name))
                if stat is not None and stat.session == leader and stat.state != "Z":
                    found.append(int(entry.name))
        return found


def wait_until(
    true: Callable[[], bool],
    what: str,
    seconds: float,
    alive: Callable[[], bool],
    log: Path | None = None,
    every: float = _POLL_SECONDS,
) -> None:
    """Poll until the condition is true.

    :param alive: whether there is still something to wait for.
    :param every: seconds between two questions: processors are few, and a question to the cloud costs several
        services some time.
    :raises LabError: it was not so in time, or what was waited for died; with the end of `log`.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if not alive():
            raise LabError(f"{what}: the process ended", log)
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:.0f} s", log)
        time.sleep(every)


def port_open(port: int) -> bool:
    """Whether something on this machine accepts connections at a TCP port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_answers(url: str) -> bool:
    """Whether a service answers a GET, be it that it asks for credentials."""
    try:
        with urllib.request.urlopen(url, timeout=20):  # noqa: S310 our own http:// address
            return True
    except urllib.error.HTTPError as error:
        return error.code in (300, 401)
    except OSError:
        return False
