# SPDX-License-Identifier: Apache-2.0
"""What an agent's sign of life costs the conductor, beside what nova-compute's costs Nova's."""

from __future__ import annotations

import time

from benchmarks import scale_pipe
from benchmarks.scale_cloud import DEVICES_PER_HOST, Cloud
from lab.cloud.site import VENV


def report(cloud: Cloud, nova_database: str, calls: int, blocks: int) -> str:
    """The ratio of processor time, without the message bus on both sides.

    :param nova_database: URL of an empty database.
    :param calls: how many of each, in all.
    :param blocks: so many times the two take turns.
    """
    ours = theirs = 0.0
    # In a process of its own: Nova has one global configuration, and imports much.
    with scale_pipe.numbers(VENV / "bin/python", "inside_service_save.py", nova_database) as save:
        save("10")  # what the first ones set up is not counted
        for _ in range(blocks):
            ours += _syncs(cloud, calls // blocks)
            theirs += save(str(calls // blocks))
    return (
        f"processor time of {calls:,} unchanged syncs of {DEVICES_PER_HOST} devices: {ours:.2f} s;"
        f" of {calls:,} nova.objects.Service.save: {theirs:.2f} s; ratio {ours / theirs:.2f}"
    )


def _syncs(cloud: Cloud, count: int) -> float:
    hosts = cloud.hosts[:count]
    for host in hosts:
        cloud.sync_unchanged(host)
    began = time.process_time()
    for number in range(count):
        cloud.sync_unchanged(hosts[number % len(hosts)])
    return time.process_time() - began
