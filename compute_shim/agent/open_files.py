# SPDX-License-Identifier: Apache-2.0
"""Which processes of the host have which device nodes open, or mapped, whatever the node is called.

A node is told by its type and number, as ``/sys/dev`` names it: ``char/189:3``, ``block/8:0``.

Looking at every open file of a busy host takes as long as ``fuser``. So a process is looked at only if it has
run since the last look: one that has not run cannot have opened anything.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from compute_shim.agent import usb_tree

# linux/fcntl.h. Without the second a file on a server that does not answer would hold us up.
_AT_FDCWD = -100
_AT_STATX_DONT_SYNC = 0x4000
# linux/stat.h: struct statx, its size and where stx_mode, stx_rdev_major and stx_rdev_minor are in it.
_STATX_SIZE = 256
_MODE = 28
_MAJOR, _MINOR = 128, 132
_TYPES = {stat.S_IFCHR: "char", stat.S_IFBLK: "block"}

# proc(5), /proc/PID/maps: where it is mapped, and the device and inode of the file.
_MAPPING = re.compile(rb"^0*([0-9a-f]+)-0*([0-9a-f]+) \S+ \S+ (\S+ [1-9][0-9]*) ", re.MULTILINE)
# linux/posix-timers.h: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), what clock_getcpuclockid(3) returns.
_CPUCLOCK_SCHED = 2

# /dev/tty, which stands for the terminal of the process (Documentation/admin-guide/devices.txt of Linux).
_OWN_TERMINAL = "char/5:0"

_statx = ctypes.CDLL(None).statx
_statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


def processor_time(pid: int) -> int | None:
    """Nanoseconds that all threads of a process have run; None if it has ended."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


class OpenFiles:
    """Remembers what each process had open when it was last looked at. For one thread.

    :param clock: how long a process has run.
    """

    def __init__(
        self, proc: Path = Path("/proc"), clock: Callable[[int], int | None] = processor_time
    ) -> None:
        self._proc = str(proc)
        self._clock = clock
        self._known: dict[int, tuple[int | None, frozenset[str]]] = {}
        self._kernel_threads: set[int] = set()
        answer = self._answer = ctypes.create_string_buffer(_STATX_SIZE)
        self._address = ctypes.addressof(answer)
        self._mode = ctypes.c_uint16.from_buffer(answer, _MODE)
        self._major = ctypes.c_uint32.from_buffer(answer, _MAJOR)
        self._minor = ctypes.c_uint32.from_buffer(answer, _MINOR)

    def holders(self, nodes: Collection[str]) -> dict[str, list[int]]:
        """Node -> the processes that have it, of these nodes; ours is none of them."""
        self._look()
        found: dict[str, list[int]] = {}
        for pid, (_, devices) in self._known.items():
            for node in devices.intersection(nodes) if devices else ():
                found.setdefault(node, []).append(pid)
        return found

    def _look(self) -> None:
        ordinary: set[bytes] = set()
        now: dict[int, tuple[int | None, frozenset[str]]] = {}
        for pid in self._processes():
            # Read before the files are, so that what it opens meanwhile is found the next time.
            ran = self._clock(pid)
            known = self._known.get(pid)
            if known is None or ran is None or known[0] != ran:
                known = (ran, frozenset(self._devices(pid, ordinary)))
            now[pid] = known
        self._known = now

    def _processes(self) -> set[int]:
        """All but ourselves, and the kernel's threads, which open nothing."""
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

    def _devices(self, pid: int, ordinary: set[bytes]) -> Iterator[str]:
        """The device nodes that a process has open or mapped.

        :param ordinary: device and inode of mapped files that are no device nodes.
        """
        process = f"{self._proc}/{pid}"
        opened = self._opened(f"{process}/fd")
        if opened and _OWN_TERMINAL in opened:
            yield _terminal(process)
        if opened is None and _main_thread_ended(process):
            for thread in usb_tree.names(f"{process}/task"):
                yield from self._opened(f"{process}/task/{thread}/fd") or ()
        yield from opened or ()
        yield from self._mapped(process, ordinary)

    def _opened(self, directory: str) -> list[str] | None:
        """The device nodes among open files; None if no file is open."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None  # it has ended
        try:
            names = os.listdir(descriptor)  # noqa: PTH208  names, without a Path for each
            nodes = [self._node(descriptor, name.encode()) for name in names]
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return [node for node in nodes if node is not None] if names else None

    def _mapped(self, process: str, ordinary: set[bytes]) -> Iterator[str]:
        """What is mapped stays open when its descriptor is closed."""
        for start, end, file in _mappings(f"{process}/maps"):
            if file in ordinary:
                continue
            path = b"%s/map_files/%s-%s" % (process.encode(), start, end)
            node = self._node(_AT_FDCWD, path)
            if node is None:
                ordinary.add(file)
            else:
                yield node

    def _node(self, directory: int, name: bytes) -> str | None:
        """The device node that a path leads to; None if it is something else, or gone."""
        if _statx(directory, name, _AT_STATX_DONT_SYNC, 0, self._address):
            return None
        kind = _TYPES.get(stat.S_IFMT(self._mode.value))
        return None if kind is None else f"{kind}/{self._major.value}:{self._minor.value}"


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


def _mappings(path: str) -> list[tuple[bytes, ...]]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  a pass opens hundreds
            return _MAPPING.findall(file.read())
    except OSError:
        return []
