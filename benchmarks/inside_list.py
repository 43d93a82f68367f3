# SPDX-License-Identifier: Apache-2.0
"""Runs in the lab host: what an inventory pass costs beside lsusb and fuser. Usage: inside_list.py ROUNDS.

Prints JSON: the number of devices, processes and open files, and seconds of each round.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from compute_shim.agent import device_spec, usb_tree
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.host_use import HostUse

PROCESSES, OPEN_FILES = 300, 10_000
# Of these, how many have run since the last pass: daemons of an idle host sleep for minutes.
BUSY = 30
SYS = Path("/sys")


class Crowd:
    """Processes that have files open and sleep; some of them can be woken for a moment."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._wake: list[int] = []
        self._answer, answer = os.pipe()
        for number in range(PROCESSES):
            wake, waker = os.pipe()
            pid = os.fork()
            if pid == 0:
                _sleeper(number, wake, answer)
            os.close(wake)
            self._pids.append(pid)
            self._wake.append(waker)
        for _ in range(PROCESSES):
            os.read(self._answer, 1)

    def wake(self, count: int) -> None:
        """Let so many of them run, and wait until they have."""
        for waker in self._wake[:count]:
            os.write(waker, b"x")
        for _ in range(count):
            os.read(self._answer, 1)

    def close(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _sleeper(number: int, wake: int, answer: int) -> None:
    """What a process of the crowd does: a mix of what daemons have open, and sleep."""
    # All that a process has from its parent, or each would have the pipes of those before it.
    os.closerange(answer + 1, wake)
    os.closerange(wake + 1, os.sysconf("SC_OPEN_MAX"))
    kept: list[object] = []
    for index in range(OPEN_FILES // PROCESSES - 4):
        kept.append((_file, _socket, _event, _epoll)[(number + index) % 4]())
    while True:
        os.write(answer, b"x")
        os.read(wake, 1)


def _file() -> object:
    return os.open("/etc/passwd", os.O_RDONLY)


def _socket() -> object:
    return socket.socket()


def _event() -> object:
    return os.eventfd(0)


def _epoll() -> object:
    return select.epoll()


@contextlib.contextmanager
def crowd() -> Iterator[Crowd]:
    found = Crowd()
    try:
        yield found
    finally:
        found.close()


def nodes(ports: list[str]) -> list[str]:
    """The names of all nodes that the pass asks for."""
    found = usb_tree.UsbTree(SYS).nodes(ports)
    return sorted(usb_tree.node_name(node, SYS) for some in found.values() for node in some)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    def discovery() -> Discovery:
        return Discovery(device_spec.parse(["{}"]), HostUse(lambda pid: False).reasons)

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, capture_output=True, check=False)

    quiet = discovery()
    found = quiet.scan([])
    names = nodes([device.port for device in found])
    lines = subprocess.run(["lsusb"], capture_output=True, check=True).stdout.splitlines()
    taken: dict[str, list[float]] = {name: [] for name in ("lsusb", "fuser", "idle", "busy", "first")}
    with crowd() as others:
        for _ in range(int(sys.argv[1])):
            taken["lsusb"].append(seconds(run("lsusb")))
            taken["fuser"].append(seconds(run("fuser", "-v", *names)))
            scan = functools.partial(discovery().scan, [])
            taken["first"].append(seconds(scan))
            taken["idle"].append(seconds(scan))
            others.wake(BUSY)
            taken["busy"].append(seconds(scan))
        processes = [name for name in usb_tree.names("/proc") if name.isdigit()]
        files = sum(len(usb_tree.names(f"/proc/{name}/fd")) for name in processes)
    print(
        json.dumps(
            {
                "devices": len(found),
                "lsusb_lines": len(lines),
                "nodes": len(names),
                "processes": len(processes),
                "files": files,
                "seconds": taken,
            }
        )
    )


if __name__ == "__main__":
    main()
