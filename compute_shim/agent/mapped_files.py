# SPDX-License-Identifier: Apache-2.0
"""Which device nodes processes have mapped: what is mapped stays open when its descriptor is closed.

To read what a process has mapped, the kernel takes a lock of that process. One that hangs may never let go
of it, so we do not wait for long.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from compute_shim.agent import node_number
from compute_shim.agent.node_number import NodeNumber
from compute_shim.bounded import Bounded

# proc(5), /proc/PID/maps: where it is mapped, and the device, inode and path of the file.
_MAPPING = re.compile(rb"^0*([0-9a-f]+)-0*([0-9a-f]+) \S+ \S+ (\S+ [1-9][0-9]* .+)", re.MULTILINE)
_SECONDS = 5
_MOST_CALLS = 8
# Some thousand different libraries are mapped on a host.
_MOST_ORDINARY = 10_000


class MappedFiles:
    """Remembers which processes did not let themselves be looked at. For one thread."""

    def __init__(self, proc: str) -> None:
        self._proc = proc
        self._bounded = Bounded(_MOST_CALLS)
        self._hanging: set[int] = set()
        # Device, inode and path of files that are no device nodes: libraries, which many have mapped.
        self._ordinary: set[bytes] = set()

    def devices(self, pids: Collection[int]) -> dict[int, frozenset[str]]:
        """Process -> the device nodes that it has mapped; nothing of one that hangs."""
        found: dict[int, frozenset[str]] = {}
        while rest := [pid for pid in pids if pid not in found and pid not in self._hanging]:
            one_look = _Look(self._proc, rest, self._ordinary)
            try:
                self._bounded.run(one_look.run, _SECONDS)
            except TimeoutError:
                self._hanging.add(one_look.at)
            found |= one_look.found
            self._ordinary = one_look.ordinary if len(one_look.ordinary) < _MOST_ORDINARY else set()
        return found

    def forget(self, pids: Collection[int]) -> None:
        """Forget the processes that are not among these."""
        self._hanging.intersection_update(pids)


class _Look:
    """One look at some processes, which may be left to itself.

    :param ordinary: files that are known to be no device nodes.
    :ivar at: the process that is looked at.
    """

    def __init__(self, proc: str, pids: Collection[int], ordinary: Collection[bytes]) -> None:
        self._proc = proc
        self._pids = pids
        self._number = NodeNumber()
        # One that is left to itself may go on: what it adds must be nobody else's.
        self.ordinary = set(ordinary)
        self.found: dict[int, frozenset[str]] = {}
        self.at = 0

    def run(self) -> None:
        for pid in self._pids:
            self.at = pid
            self.found[pid] = frozenset(self._devices(f"{self._proc}/{pid}"))

    def _devices(self, process: str) -> Iterator[str]:
        for start, end, file in _mappings(f"{process}/maps"):
            if file in self.ordinary:
                continue
            path = b"%s/map_files/%s-%s" % (process.encode(), start, end)
            number = self._number.of(node_number.AT_FDCWD, path)
            if number is None:
                self.ordinary.add(file)
            else:
                yield number


def _mappings(path: str) -> list[tuple[bytes, ...]]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  a pass opens hundreds
            return _MAPPING.findall(file.read())
    except OSError:
        return []
