# SPDX-License-Identifier: Apache-2.0
"""`make storm`: many clients attach and detach while APIs and conductors are killed, and nothing gets lost.

STORM_SECONDS says for how long (120), STORM_SEED what is tried; what comes of it depends on the clock too. It
needs no lab host: MariaDB, RabbitMQ, APIs, conductors and agents are real, the domains are in memory, and
Keystone and Nova are left out. Exits with 1 if something is not as it has to be.
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
from lab.paths import ROOT
from tests.storm import settings
from tests.storm.storm import Storm

_MOST_VIOLATIONS = 10


def _verdict(violations: list[str]) -> int:
    if not violations:
        return 0
    print(f"STORM_SEED={settings.SEED}: not as it has to be: {len(violations)} violations")
    print("\n".join(violations[:_MOST_VIOLATIONS]))
    kept = ROOT / f"lab/run/storm-{settings.SEED}"
    shutil.copytree(LOG, kept, dirs_exist_ok=True)
    print(f"The logs are in {kept}", flush=True)
    return 1


def main() -> int:
    print(f"STORM_SEED={settings.SEED} STORM_SECONDS={settings.SECONDS:.0f}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    servers = private_servers.PrivateServers()
    try:
        logging.basicConfig(
            filename=LOG / "storm.out",
            format="%(asctime)s %(threadName)s %(levelname)s %(message)s",
            level=logging.INFO,
        )
        servers.start()
        storm = Storm(servers)
        try:
            storm.up()
            storm.blow()
            if not storm.ledger.violations:
                storm.settle()
        finally:
            storm.down()
            print(storm.tally, flush=True)
        return _verdict(storm.ledger.violations)
    finally:
        servers.remove()


if __name__ == "__main__":
    sys.exit(main())
