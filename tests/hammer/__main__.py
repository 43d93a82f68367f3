# SPDX-License-Identifier: Apache-2.0
"""`make hammer`: sharing, kinds, leases and lines under constant use, on each database.

HAMMER_SECONDS says for how long on each (300), HAMMER_DATABASES on which, HAMMER_SEED what is tried;
what comes of it depends on the clock too. It needs no lab host: databases, RabbitMQ, APIs, conductors and
the agent are real, the domains are in memory, and Keystone and Nova are left out. Exits with 1 if something
is not as it has to be.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys

from tests.functional import private_servers

# isort: split
from compute_shim.cmd import native_threads  # noqa: F401  before anything imports oslo.messaging

# isort: split
from lab.cloud.site import LOG
from lab.paths import ROOT, RUN
from tests.functional.databases import PostgreSQL
from tests.hammer import settings
from tests.hammer.hammer import Hammer, database

_MOST_VIOLATIONS = 10


def _run(servers: private_servers.PrivateServers, url: str) -> list[str]:
    hammer = Hammer(servers, url)
    try:
        hammer.up()
        hammer.strike()
        if not hammer.violations:
            hammer.settle()
    finally:
        hammer.down()
        print(hammer.tally, flush=True)
    return hammer.violations


def _on(kind: str, servers: private_servers.PrivateServers) -> list[str]:
    if kind != "postgresql":
        return _run(servers, database(kind, servers, RUN))
    postgresql = PostgreSQL()
    try:
        postgresql.start()
        return _run(servers, postgresql.create_database())
    finally:
        postgresql.remove()


def main() -> int:
    print(f"HAMMER_SEED={settings.SEED} HAMMER_SECONDS={settings.SECONDS:.0f}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    servers = private_servers.PrivateServers()
    try:
        logging.basicConfig(filename=LOG / "hammer.out", level=logging.INFO)
        servers.start()
        for kind in settings.DATABASES:
            print(f"--- {kind}", flush=True)
            violations = _on(kind, servers)
            if violations:
                print(f"HAMMER_SEED={settings.SEED}: not as it has to be: {len(violations)} violations")
                print("\n".join(violations[:_MOST_VIOLATIONS]))
                kept = ROOT / f"lab/run/hammer-{settings.SEED}"
                shutil.copytree(LOG, kept, dirs_exist_ok=True)
                print(f"The logs are in {kept}", flush=True)
                return 1
        return 0
    finally:
        servers.remove()


if __name__ == "__main__":
    sys.exit(main())
