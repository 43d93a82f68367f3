# SPDX-License-Identifier: Apache-2.0
"""What is chosen once for a cloud: its ports, its passwords and its directories."""

from __future__ import annotations

import dataclasses
import json
import random
import secrets
import socket
from pathlib import Path

from lab.cloud.timeline import LabError
from lab.paths import ROOT, RUN

COMPUTE_HOST = "usbhost1"
"""The lab host that nova-compute and our agent run in, and the name they give themselves."""

SECOND_HOST = "usbhost2"
"""Another such host, which only some tests start (`lab.cloud.second_host`): servers can move to it."""

GATEWAY = "10.0.2.2"
"""This machine as seen from a lab host: QEMU's user network gives it this address by default."""

VENV = ROOT / ".venv"
STATE = RUN / "state"
ETC = RUN / "etc"
LOG = RUN / "log"
PIDS = RUN / "pids"

HORIZON_PORT = 8080
"""The port of Horizon; a higher one if somebody has it."""

_RECORD = RUN / "cloud.json"

_PORTS = (
    "keystone",
    "placement",
    "glance",
    "nova-api",
    "neutron",
    "usb-shim-api",
    "rabbitmq",
    "rabbitmq-peers",
    "epmd",
    "mariadb",
)
# Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range).
_FIRST_PORT, _LAST_PORT, _BLOCK = 20000, 32000, 20

_SECRETS = (
    "mariadb",
    "rabbitmq",
    "admin",
    "demo",
    "other",
    "placement",
    "glance",
    "nova",
    "neutron",
    "usb-shim",
    "horizon",
)


@dataclasses.dataclass(frozen=True)
class Site:
    """Ports and passwords by name."""

    ports: dict[str, int]
    passwords: dict[str, str]

    def url(self, service: str, path: str = "", address: str = "127.0.0.1") -> str:
        """Where a service answers."""
        return f"http://{address}:{self.ports[service]}{path}"

    def database_url(self, database: str) -> str:
        """A database of the cloud, for SQLAlchemy."""
        return (
            f"mysql+pymysql://root:{self.passwords['mariadb']}@127.0.0.1:{self.ports['mariadb']}"
            f"/{database}?charset=utf8mb4"
        )

    def transport_url(self, address: str = "127.0.0.1") -> str:
        """The message bus, for oslo.messaging."""
        return f"rabbit://openstack:{self.passwords['rabbitmq']}@{address}:{self.ports['rabbitmq']}/"


def share(host: str) -> Path:
    """Mounted in a compute host at the same path, read-write: for the logs of what runs in there."""
    return RUN / host / "share"


def create() -> Site:
    """New passwords and a block of free ports, recorded for later commands.

    A password that began with a dash would be an option of the command that it is an argument of.
    """
    base = _free_block()
    site = Site(
        ports={name: base + offset for offset, name in enumerate(_PORTS)} | {"horizon": _horizon_port()},
        passwords={name: secrets.token_hex(16) for name in _SECRETS},
    )
    RUN.mkdir(parents=True, exist_ok=True)
    _RECORD.touch(mode=0o600)
    _RECORD.write_text(json.dumps(dataclasses.asdict(site), indent=1))
    return site


def load() -> Site:
    """The one recorded by `create`.

    :raises LabError: there is none.
    """
    try:
        return Site(**json.loads(_RECORD.read_text()))
    except FileNotFoundError:
        raise LabError("The lab's cloud is not up. Start it: .venv/bin/python -m lab up") from None


def forget() -> None:
    """Remove the record."""
    _RECORD.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _horizon_port() -> int:
    return next(port for port in range(HORIZON_PORT, _FIRST_PORT) if _free(port))


def _free_block() -> int:
    blocks = list(range(_FIRST_PORT, _LAST_PORT, _BLOCK))
    random.shuffle(blocks)  # so that two checkouts that start at once do not choose the same
    for base in blocks:
        if all(_free(base + offset) for offset in range(len(_PORTS))):
            return base
    raise LabError(f"No {len(_PORTS)} free TCP ports in a row between {_FIRST_PORT} and {_LAST_PORT}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
