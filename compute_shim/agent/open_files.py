# SPDX-License-Identifier: Apache-2.0
"""The processes of the host that have device nodes open or mapped, regardless of the names of the nodes.

A node is identified by its type and number, as in ``/sys/dev``: ``char/189:3``, ``block/8:0``.

Checking every open file of a busy host takes as long as ``fuser``. Therefore a process is checked only if it
has run since the last check: a process that has not run cannot have opened a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from compute_shim.agent import usb_tree
from compute_shim.agent.mapped_files import MappedFiles
from compute_shim.agent.node_number import NodeNumber

# linux/posix-timers.h: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), what clock_getcpuclockid(3) returns.
_CPUCLOCK_SCHED = 2
# /dev/tty, which stands for the terminal of the process (Documentation/admin-guide/devices.txt of Linux).
_OWN_TERMINAL = "char/5:0"


def processor_time(pid: int) -> int | None:
    """CPU time of all threads of a process in nanoseconds; None if it has ended."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


class OpenFiles:
    """Caches the open nodes of each process. For one thread.

    :param clock: the CPU time of a process.
    """

    def __init__(
        self, proc: Path = Path("/proc"), clock: Callable[[int], int | None] = processor_time
    ) -> None:
        self._proc = str(proc)
        self._clock = clock
        self._known: dict[int, tuple[int | None, frozenset[str]]] = {}
        self._kernel_threads: set[int] = set()
        self._mapped = MappedFiles(self._proc)
        self._number = NodeNumber()

    def holders(self, nodes: Collection[str]) -> dict[str, list[int]]:
        """Node -> the processes that have it open, for the given nodes, except this process."""
        self._look()
        found: dict[str, list[int]] = {}
        for pid, (_, devices) in self._known.items():
            for node in devices.intersection(nodes) if devices else ():
                found.setdefault(node, []).append(pid)
        return found

    def _look(self) -> None:
        # Read before the files are, so that what is opened meanwhile is found the next time.
        ran = {pid: self._clock(pid) for pid in self._processes()}
        self._mapped.forget(ran)
        awake = {pid for pid, time in ran.items() if time is None or self._known.get(pid, (None,))[0] != time}
        opened = {pid: frozenset(self._devices(f"{self._proc}/{pid}")) for pid in awake}
        mapped = self._mapped.devices(awake)
        asleep = {pid: self._known[pid] for pid in ran.keys() - awake}
        self._known = asleep | {
            pid: (ran[pid], devices | mapped.get(pid, frozenset())) for pid, devices in opened.items()
        }

    def _processes(self) -> set[int]:
        """All processes except this one and kernel threads, which open no nodes."""
        # Their parent is the second process; so is that of the programs that the kernel starts
        # (Linux, kernel/kthread.c and kernel/umh.c).
        children = set(map(int, usb_tree.read(f"{self._proc}/2/task/2/children").split()))
        self._kernel_threads = {
            pid
            for pid in children
            if pid in self._kernel_threads or usb_tree.link(f"{self._proc}/{pid}/exe") is None
        }
        numbers = filter(str.isdigit, usb_tree.names(self._proc))
        return set(map(int, numbers)) - self._kernel_threads - {os.getpid()}

    def _devices(self, process: str) -> Iterator[str]:
        """The device nodes that a process has open."""
        opened = self._opened(f"{process}/fd")
        if opened and _OWN_TERMINAL in opened:
            yield _terminal(process)
        if opened is None and _main_thread_ended(process):
            for thread in usb_tree.names(f"{process}/task"):
                yield from self._opened(f"{process}/task/{thread}/fd") or ()
        yield from opened or ()

    def _opened(self, directory: str) -> list[str] | None:
        """The device nodes among open files; None if no file is open."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None  # it has ended
        try:
            names = os.listdir(descriptor)  # noqa: PTH208  names, without a Path for each
            nodes = [self._number.of(descriptor, name.encode()) for name in names]
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return [node for node in nodes if node is not None] if names else None


def _main_thread_ended(process: str) -> bool:
    """Whether the first thread has ended; others may live on, and the files with them."""
    return _status(process)[:1] in (["Z"], ["X"])


def _terminal(process: str) -> str:
    """The node of the terminal that a process has."""
    # proc(5): "tty_nr" is the fifth field after the name, bits 31 to 20 and 7 to 0 are the minor.
    number = int("".join(_status(process)[4:5]) or 0)
    return f"char/{number >> 8 & 0xFFF}:{number & 0xFF | number >> 12 & 0xFFF00}"


def _status(process: str) -> list[str]:
    """The fields of /proc/PID/stat (proc(5)) from the state on; none if it has ended."""
    # The name before that may have brackets and blanks.
    return usb_tree.read(f"{process}/stat").rpartition(")")[2].split()
