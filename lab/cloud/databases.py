# SPDX-License-Identifier: Apache-2.0
"""MariaDB and the schemas in it."""

from __future__ import annotations

import sys

import sqlalchemy as sa

from lab.cloud import config
from lab.cloud.forks import Forks
from lab.cloud.process import Command, Processes, port_open, wait_until
from lab.cloud.site import STATE, VENV, Site, write_private

_DATABASES = ("keystone", "placement", "glance", "neutron", "nova_api", "nova_cell0", "nova_cell1")
_DIRECTORY = STATE / "mariadb"
_DATA = _DIRECTORY / "data"
_FIRST_STATEMENTS = _DIRECTORY / "first.sql"


def start(site: Site, processes: Processes) -> None:
    """Create a server with empty databases and start it; its data is not durable."""
    _DIRECTORY.mkdir(parents=True)
    processes.run(
        "mariadb-install-db",
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={_DATA}",
            "--user=root",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
    )
    write_private(
        _FIRST_STATEMENTS,
        f"ALTER USER root@localhost IDENTIFIED BY '{site.passwords['mariadb']}';\n"
        + "".join(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;\n" for name in _DATABASES)
        # What a USB device calls itself may have characters of four bytes.
        + "CREATE DATABASE IF NOT EXISTS usb_shim CHARACTER SET utf8mb4;\n",
    )
    start_again(site, processes)


def start_again(site: Site, processes: Processes) -> None:
    """Start the server with its existing data, and wait until it answers."""
    processes.start(
        "mariadb",
        [
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={_DATA}",
            "--socket=mariadb.sock",  # in the data directory: a longer path may be too long for a socket
            f"--init-file={_FIRST_STATEMENTS}",
            "--bind-address=127.0.0.1",
            f"--port={site.ports['mariadb']}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=64M",
            "--performance-schema=OFF",
            "--skip-log-bin",
            "--skip-name-resolve=OFF",
            "--max-connections=500",
        ],
    )
    wait_until(
        lambda: port_open(site.ports["mariadb"]),
        "MariaDB does not start",
        60,
        lambda: processes.pid("mariadb") is not None,
        processes.log("mariadb"),
    )


def has_compute_node(site: Site, host: str) -> bool:
    """Whether nova-compute on a host has told the cell what the host is."""
    engine = sa.create_engine(site.database_url("nova_cell1"))
    with engine.connect() as connection:
        # Nova keeps the row of a host that was deleted.
        there = sa.text("SELECT id FROM compute_nodes WHERE host = :host AND deleted = 0")
        return connection.execute(there, {"host": host}).first() is not None


def forget_usb_host(site: Site, host: str) -> None:
    """Remove a host that is permanently gone, and its devices, from our own tables."""
    engine = sa.create_engine(site.database_url("usb_shim"))
    with engine.begin() as connection:
        for table in ("host_usb_devices", "usb_hosts"):
            connection.execute(sa.text(f"DELETE FROM {table} WHERE host = :host"), {"host": host})  # noqa: S608


def keystone(site: Site, manage: Forks) -> None:
    """Keystone's tables and keys, the user admin and the default roles."""
    options = ("--config-file", config.KEYSTONE)
    owner = ("--keystone-user", "root", "--keystone-group", "root")
    url = site.url("keystone", "/v3")
    for keys in (config.FERNET_KEYS, config.CREDENTIAL_KEYS):
        keys.mkdir(parents=True)
    manage.run(*options, "db_sync")
    manage.run(*options, "fernet_setup", *owner)
    manage.run(*options, "credential_setup", *owner)
    manage.run(
        *options,
        "bootstrap",
        *("--bootstrap-password", site.passwords["admin"]),
        *("--bootstrap-admin-url", url, "--bootstrap-internal-url", url, "--bootstrap-public-url", url),
        *("--bootstrap-region-id", config.REGION),
    )


def nova(site: Site, manage: Forks) -> None:
    """Nova's tables: of the API, of cell 0 (servers that found no host) and of the one real cell."""
    options = ("--config-file", config.NOVA)
    manage.run(*options, "api_db", "sync")
    manage.run(*options, "cell_v2", "map_cell0", "--database_connection", site.database_url("nova_cell0"))
    manage.run(*options, "db", "sync")
    manage.run(*options, "cell_v2", "create_cell", "--name", "cell1")


def placement(processes: Processes) -> None:
    """Placement's tables."""
    _manage("placement-manage", ["--config-file", config.PLACEMENT, "db", "sync"], processes)


def glance(processes: Processes) -> None:
    """Glance's tables."""
    _manage("glance-manage", ["--config-file", config.GLANCE, "db_sync"], processes)


def usb_shim(processes: Processes) -> None:
    """Our own tables."""
    _manage("usb-shim-manage", ["--config-file", config.USB_SHIM, "db", "sync"], processes)


def _manage(program: str, words: Command, processes: Processes) -> None:
    processes.run(program, [VENV / "bin" / program, *words])


def neutron(site: Site, processes: Processes) -> None:
    """Neutron's tables."""
    processes.run(
        "neutron-tables", [sys.executable, "-m", "lab.cloud.neutron_tables", site.database_url("neutron")]
    )
