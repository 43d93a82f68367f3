# SPDX-License-Identifier: Apache-2.0
"""The device nodes that processes have mapped. A mapped node stays open when its descriptor is closed.

To read the mappings, the kernel takes a lock of the process. A process that hangs may never release it, so
the wait is limited.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping

from compute_shim.agent import files, node_number
from compute_shim.agent.node_number import NodeNumber
from compute_shim.bounded import Bounded

# proc(5), /proc/PID/maps: where it is mapped, access and offset, and the device, inode and path of the file.
_FILE = re.compile(rb"^\S+ \S+ \S+ (\S+ [1-9].*)", re.MULTILINE)
_MAPPING = re.compile(rb"^0*([0-9a-f]+)-0*([0-9a-f]+) \S+ \S+ (.+)", re.MULTILINE)
_SECONDS = 5
_MOST_CALLS = 8
# Some thousand different libraries are mapped on a host.
_MOST_ORDINARY = 10_000


class MappedFiles:
    """Caches the mappings of processes, and remembers those that did not respond. For one thread."""

    def __init__(self, proc: str) -> None:
        self._proc = proc
        self._bounded = Bounded(_MOST_CALLS)
        self._hanging: set[int] = set()
        # Process -> digest of its mappings, and the device nodes among them.
        self._known: dict[int, tuple[bytes, frozenset[str]]] = {}
        # Device, inode and path of files that are no device nodes: libraries, which many have mapped.
        self._ordinary: set[bytes] = set()

    def devices(self, pids: Collection[int]) -> dict[int, frozenset[str]]:
        """Process -> the device nodes that it has mapped; a process that hangs is omitted."""
        found: dict[int, tuple[bytes, frozenset[str]]] = {}
        while rest := [pid for pid in pids if pid not in found and pid not in self._hanging]:
            one_look = _Look(self._proc, rest, self._known, self._ordinary)
            try:
                self._bounded.run(one_look.run, _SECONDS)
            except TimeoutError:
                self._hanging.add(one_look.at)
            found |= one_look.found
            self._ordinary = one_look.ordinary if len(one_look.ordinary) < _MOST_ORDINARY else set()
        self._known = self._known | found
        return {pid: devices for pid, (_, devices) in found.items()}

    def forget(self, pids: Collection[int]) -> None:
        """Discard all other processes."""
        self._hanging.intersection_update(pids)
        self._known = {pid: known for pid, known in self._known.items() if pid in pids}


class _Look:
    """One check of some processes, which can be abandoned; it must not share its results.

    :param known: the mappings at the last check.
    :param ordinary: files that are known not to be device nodes.
    :ivar at: the process that is being checked.
    """

    def __init__(
        self,
        proc: str,
        pids: Collection[int],
        known: Mapping[int, tuple[bytes, frozenset[str]]],
        ordinary: Collection[bytes],
    ) -> None:
        self._proc = proc
        self._pids = pids
        self._known = known
        self._number = NodeNumber()
        self.ordinary = set(ordinary)
        self.found: dict[int, tuple[bytes, frozenset[str]]] = {}
        self.at = 0

    def run(self) -> None:
        for pid in self._pids:
            self.at = pid
            process = f"{self._proc}/{pid}"
            text = _maps(process)
            # Most processes that have run have mapped nothing meanwhile.
            digest = hashlib.blake2b(text, digest_size=16).digest()
            known = self._known.get(pid)
            if known is not None and known[0] == digest:
                self.found[pid] = known
            else:
                self.found[pid] = digest, frozenset(self._devices(process, text))

    def _devices(self, process: str, text: bytes) -> Iterator[str]:
        # Thousands of lines, and hardly ever one that is news.
        news = set(_FILE.findall(text)) - self.ordinary
        for start, end, file in _MAPPING.findall(text) if news else ():
            if file in news:
                path = b"%s/map_files/%s-%s" % (process.encode(), start, end)
                number = self._number.of(node_number.AT_FDCWD, path)
                if number is None:
                    self.ordinary.add(file)
                else:
                    yield number


def _maps(process: str) -> bytes:
    try:
        return files.contents(f"{process}/maps")
    except OSError:
        return b""
