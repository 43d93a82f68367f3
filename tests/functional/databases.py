# SPDX-License-Identifier: Apache-2.0
"""Database servers of our own, each in a directory of its own and on a socket in it."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_PATIENCE = 60
# In memory, MariaDB makes the tables of a test in a fifth of the time. All tests together take less room.
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30


def _place() -> Path | None:
    """Where the directories of databases are made; None: where temporary files are."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if has_room else None


class Server:
    """A database server, not yet started.

    :cvar _stop: the signal that ends it at once; what it has stored goes as well.
    """

    _stop = signal.SIGKILL

    def __init__(self) -> None:
        # Not in pytest's directory: the path of a socket must not be longer than 107 characters (unix(7)).
        self._directory = Path(tempfile.mkdtemp(prefix="usb-db-", dir=_place()))
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def create_database(self) -> str:
        """The URL of a new database."""
        self._count += 1
        name = f"usb{self._count}"
        self._execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self._directory)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._execute("SELECT 1")
                return
            except sa.exc.OperationalError:
                assert self._process.poll() is None and time.monotonic() < deadline, self._log()
                time.sleep(0.1)

    def kill(self) -> None:
        """Stop it without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def remove(self) -> None:
        """Stop it, and take away what it has stored."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop)
            self._process.wait()
        shutil.rmtree(self._directory)

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._directory)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def _log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def lock_waits(self) -> int:
        """How many transactions wait for a lock now."""
        raise NotImplementedError

    def cut(self, connection: Any) -> None:
        """End a connection of psycopg2 or PyMySQL from the other side."""
        raise NotImplementedError

    def _execute(self, statement: str) -> list[sa.Row[Any]]:
        engine = sa.create_engine(self._url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            result = connection.execute(sa.text(statement))
            return list(result) if result.returns_rows else []

    def _url(self, name: str | None = None) -> str:
        raise NotImplementedError

    def _command(self) -> list[str | Path]:
        raise NotImplementedError


class MariaDB(Server):
    """MariaDB, run by whoever runs the tests."""

    def __init__(self) -> None:
        super().__init__()
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self._directory}/data",
            self._tmpdir(),
            f"--user={getpass.getuser()}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def lock_waits(self) -> int:
        """As `Server.lock_waits`."""
        statement = "SELECT count(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"
        [(value,)] = self._execute(statement)
        return int(value)

    def cut(self, connection: Any) -> None:
        """As `Server.cut`."""
        self._execute(f"KILL {connection.thread_id()}")

    def _tmpdir(self) -> str:
        """The option that gives each server its own directory for temporary tables.

        When MariaDB starts, it deletes the temporary tables that it finds, and fails if another server does
        so at the same moment.
        """
        return f"--tmpdir={self._directory}"

    def _command(self) -> list[str | Path]:
        return [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--user={getpass.getuser()}",
            f"--datadir={self._directory}/data",
            self._tmpdir(),
            f"--socket={self._directory}/socket",
            f"--pid-file={self._directory}/pid",
            "--skip-networking",
            # What is stored must outlive the process, but not the machine.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=32M",
        ]

    def _url(self, name: str | None = None) -> str:
        return f"mysql+pymysql://root@localhost/{name or ''}?unix_socket={self._directory}/socket"


class PostgreSQL(Server):
    """PostgreSQL; it refuses to be run by root, so root has it run by its own user."""

    _stop = signal.SIGINT

    def __init__(self) -> None:
        super().__init__()
        self._as_user: list[str | Path] = []
        self._user = getpass.getuser()
        if os.geteuid() == 0:
            self._user = "postgres"
            os.chown(self._directory, pwd.getpwnam(self._user).pw_uid, -1)
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._run(
            *self._as_user,
            self._programs / "initdb",
            f"--pgdata={self._directory}/data",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=trust",
            "--no-sync",
        )

    def lock_waits(self) -> int:
        """As `Server.lock_waits`."""
        [(value,)] = self._execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(value)

    def cut(self, connection: Any) -> None:
        """As `Server.cut`."""
        self._execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")

    def _command(self) -> list[str | Path]:
        return [
            *self._as_user,
            self._programs / "postgres",
            *("-D", self._directory / "data", "-k", self._directory),
            *("-c", "listen_addresses=", "-c", "fsync=off"),
        ]

    def _url(self, name: str | None = None) -> str:
        return f"postgresql+psycopg2://{self._user}@/{name or 'postgres'}?host={self._directory}"
