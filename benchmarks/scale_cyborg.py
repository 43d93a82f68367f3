# SPDX-License-Identifier: Apache-2.0
"""Our list of devices beside that of Cyborg, OpenStack's service for accelerators."""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib import parse

from benchmarks import scale_pipe
from benchmarks.scale_cloud import DEVICES_PER_HOST, Cloud, device_id
from lab.paths import CACHE, ROOT

_VERSION = "17.0.0"
# Of what takes some milliseconds, while a whole list takes a second.
_SHORT_ROUNDS = 40
_HOME = CACHE / f"cyborg-{_VERSION}"


def report(cloud: Cloud, database: str, rounds: int) -> str:
    """The ratios of their time to ours; above 1, ours is quicker.

    :param database: URL of an empty database.
    :param rounds: of a whole list.
    """
    devices = {host: [device_id(host, number) for number in range(DEVICES_PER_HOST)] for host in cloud.hosts}
    paste = _HOME / "etc/cyborg/api-paste.ini"
    lines = [f"{f'milliseconds at {cloud.size:,} devices, and ratio':44}   Cyborg     ours    ratio"]
    with scale_pipe.numbers(_python(), "inside_cyborg.py", database, str(paste)) as cyborg:
        cyborg(json.dumps(devices))
        for name, ours, theirs, times in _calls(cloud, cloud.host(1), rounds):
            lines.append(_row(name, ours, functools.partial(cyborg, theirs), times))
    return "\n".join(lines)


def _calls(cloud: Cloud, host: str, rounds: int) -> list[tuple[str, Callable[[], object], str, int]]:
    """What is compared: its name, ours, what `inside_cyborg.py` is asked for, and how often."""
    device = device_id(host, 0)

    def by_host() -> None:
        _walk(cloud, "admin", f"?host={host}")

    def show() -> None:
        cloud.get("admin", f"/v1/devices/{device}")

    return [
        ("list all, admin", lambda: _walk(cloud, "admin"), "admin /v2/devices", rounds),
        ("list all, tenant", lambda: _walk(cloud, "demo"), "demo /v2/devices", rounds),
        ("list by host", by_host, f"admin /v2/devices?hostname={host}", _SHORT_ROUNDS),
        ("show one", show, f"admin /v2/devices/{device}", _SHORT_ROUNDS),
    ]


def _row(name: str, ours: Callable[[], object], theirs: Callable[[], float], rounds: int) -> str:
    pairs = [(theirs(), _timed(ours)) for _ in range(rounds + 1)][1:]  # the first of each warms up
    their_median, our_median = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    return f"{name:44}{1e3 * their_median:9.1f}{1e3 * our_median:9.1f}{their_median / our_median:9.2f}"


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _walk(cloud: Cloud, token: str, query: str = "") -> None:
    """All pages of a list, as large as they are by default."""
    path = f"/v1/devices{query}"
    while path:
        links = cloud.get(token, path).get("devices_links", [])
        following = [parse.urlsplit(link["href"]) for link in links if link["rel"] == "next"]
        path = f"{following[0].path}?{following[0].query}" if following else ""


def _python() -> Path:
    """The interpreter of a virtualenv with Cyborg, made at the first use.

    It cannot be in ours: nothing else of the project needs what it needs.
    """
    python = _HOME / "bin/python"
    if not (_HOME / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", _HOME], check=True)
        packages = [f"openstack-cyborg=={_VERSION}", "PyMySQL", "fixtures", "testtools"]
        constraints = ROOT / "lab/constraints.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, *packages], check=True)
        (_HOME / "ready").touch()
    return python
