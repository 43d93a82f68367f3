# SPDX-License-Identifier: Apache-2.0
"""How the parts of the conductor are put together, without a process."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oslo_messaging.server
import pytest
from futurist import periodics
from oslo_config import cfg

from compute_shim import conf as configuration
from compute_shim import credentials, exception, rpc
from compute_shim.conductor import service
from compute_shim.conductor.placement_sync import INTERVAL as PLACEMENT_INTERVAL
from compute_shim.conf import database, placement
from compute_shim.conf import nova as nova_conf
from compute_shim.daemon import CannotServe
from compute_shim.db import history, readiness
from compute_shim.db.api import Database
from compute_shim.nova import Nova
from tests.unit.conductor.cloud import Nudger
from tests.unit.db.test_states import empty_database

CONF = """
[DEFAULT]
host = controller
transport_url = fake:///
[conductor]
deleted_server_interval = 50
[lease]
warn_before = 7
[database]
connection = sqlite://
"""
PASSWORD = """
auth_type = password
auth_url = http://keystone.example/v3
username = usb
password = secret
user_domain_id = default
"""
CREDENTIALS = f"[nova]{PASSWORD}"
PLACEMENT = f"[placement]{PASSWORD}enabled = true\n"


class Daemon:
    """The program, told to stop from the start or when it waits for the second time."""

    def __init__(self, patience: int = 2) -> None:
        self.stopping = threading.Event()
        self.failures: list[CannotServe] = []
        self.waits: list[float] = []
        if not patience:
            self.stopping.set()
        self._patience = patience
        self.stopping.wait = self._wait  # type: ignore[method-assign, assignment]

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self._patience:
            self.stopping.set()

    def fail(self, reason: CannotServe) -> None:
        self.failures.append(reason)


class Loop:
    """Something that is woken and runs: it is only noted that it is."""

    def __init__(self) -> None:
        self.woken = 0
        self.runs = threading.Event()

    def wake(self) -> None:
        self.woken += 1

    def run(self) -> None:
        assert threading.current_thread().daemon
        self.runs.set()


class Parts:
    """What `service.run` puts together: it is only noted what they are given, and when they begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, its_conf: cfg.ConfigOpts) -> None:
        self.conf = its_conf
        self.db = db()
        self.done: list[Any] = []
        self.running = threading.Event()
        self.is_ready = True
        self.sync: Any = object()
        self.line_end: Any = object()
        self.serving, self.carrying = Loop(), Loop()
        for name, value in {
            "readiness.database": lambda conf: self.db,
            "notifications.start": lambda conf, db: self.done.append("notifications"),
            "metrics.serve": lambda conf, registry: self.done.append("metrics"),
            "Witnesses": lambda db, nova, auth: self,
            "Serving": self._serving,
            "Carrying": self._carrying,
            "rpc.server": self._endpoint,
            "bus.RpcServer": self._server,
            "_of_servers": lambda *given: (self.sync, self.line_end),
            "_of_placement": lambda *given: "placement",
            "_database_is_ready": lambda *given: self.is_ready,
            "_periodically": self._periodically,
            "_end": lambda sync: self.done.append(("end", sync)),
        }.items():
            monkeypatch.setattr(f"compute_shim.conductor.service.{name}", value)

    def _serving(self, *given: Any) -> Any:
        *_, self.window, self.is_on_host = given
        return self.serving

    def _carrying(self, *given: Any) -> Any:
        assert given[-2:] == (self.window, self.is_on_host)
        return self.carrying

    def _endpoint(self, transport: object, topic: str, host: str, manager: Any) -> str:
        assert (topic, host) == (rpc.CONDUCTOR_TOPIC, "controller")
        manager._news()
        # So does the library.
        with contextlib.suppress(cfg.DuplicateOptError):
            self.conf.register_opts(oslo_messaging.server._pool_opts)
        return "endpoint"

    def _server(self, endpoint: str, clients: str, *_: Any) -> Any:
        assert endpoint == "endpoint"
        self.clients = clients
        return self

    def _periodically(self, conf: cfg.ConfigOpts, db: Database, nudger: object, *tasks: Any) -> None:
        self.done.append(("periodically", *tasks))
        self.running.set()

    def is_on(self, server_id: str, host: str) -> bool:
        return (server_id, host) == ("server", "compute1")

    def start(self) -> None:
        self.done.append("server")

    def finish(self, seconds: float) -> None:
        self.done.append(("finish", seconds))

    # What the daemon does.

    def announce(self) -> None:
        self.done.append("announce")

    def wait(self) -> None:
        if self.is_ready:
            assert self.running.wait(60)


class Worker:
    """The library's worker for periodic tasks: it only notes what it is given."""

    made: Worker

    def __init__(self, callables: Any, executor_factory: Callable[[], Any]) -> None:
        self.tasks = [task for task, _, _ in callables]
        self.executor = executor_factory()
        self.started = False
        Worker.made = self

    def start(self) -> None:
        self.started = True


def conf(directory: Path, more: str = "") -> cfg.ConfigOpts:
    file = directory / "usb-shim.conf"
    file.write_text(CONF + more)
    found = configuration.load([f"--config-file={file}"])
    for module in (database, nova_conf, placement):
        module.register(found)
    return found


def db() -> Any:
    return empty_database()


def test_what_runs_until_the_program_is_told_to_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    its_conf = conf(tmp_path, CREDENTIALS)
    parts = Parts(monkeypatch, its_conf)
    service.run(its_conf, parts)  # type: ignore[arg-type]
    assert parts.done == [
        "notifications",
        "announce",
        "metrics",
        "server",
        ("periodically", [parts.sync, parts.line_end], "placement"),
        ("end", parts.sync),
        ("finish", 10),
    ]
    for loop in (parts.serving, parts.carrying):
        assert loop.runs.wait(60)
        assert loop.woken == 1
    assert parts.clients == "agents"
    # We try again ourselves; each of the calls that are answered at once has a connection.
    assert its_conf.database.max_retries == 0
    assert its_conf.database.max_pool_size == its_conf.executor_thread_pool_size == 8


def test_nobody_is_served_without_a_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    its_conf = conf(tmp_path)
    parts = Parts(monkeypatch, its_conf)
    parts.is_ready = False
    parts.sync = parts.line_end = None
    service.run(its_conf, parts)  # type: ignore[arg-type]
    for thread in threading.enumerate():
        if thread.name == "start":
            assert thread.daemon
            thread.join()
    assert parts.done == ["notifications", "announce", "metrics", ("finish", 10)]


def test_without_credentials_no_task_of_nova_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    its_conf = conf(tmp_path)
    parts = Parts(monkeypatch, its_conf)
    parts.sync = parts.line_end = None
    service.run(its_conf, parts)  # type: ignore[arg-type]
    assert ("periodically", [], "placement") in parts.done


@pytest.mark.parametrize(("more", "known"), [("", False), (CREDENTIALS, True)], ids=["no", "credentials"])
def test_where_a_server_is_nova_says(
    more: str, known: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    its_conf = conf(tmp_path, more)
    parts = Parts(monkeypatch, its_conf)
    service.run(its_conf, parts)  # type: ignore[arg-type]
    assert parts.is_on_host("server", "compute1") is known
    assert parts.is_on_host("server", "compute2") is False


def periodic(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *given: Any, more: str = ""
) -> tuple[Worker, Database]:
    monkeypatch.setattr(periodics, "PeriodicWorker", Worker)
    its_db = db()
    service._periodically(conf(directory, more), its_db, Nudger(), *given)
    return Worker.made, its_db


def test_the_periodic_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each with a thread, so that none waits for another; those about servers begin after a pause."""

    def of_servers() -> None: ...
    def offer() -> None: ...

    worker, _ = periodic(monkeypatch, tmp_path, [of_servers], offer)
    assert worker.started
    assert [(task._periodic_spacing, task._periodic_run_immediately) for task in worker.tasks] == [
        (3600, True),
        (5, True),
        (50, False),
        (PLACEMENT_INTERVAL, True),
    ]
    assert worker.executor._max_workers == 4
    assert worker.tasks[1]._warn_before == 7


def test_without_nova_and_placement_leases_end_and_the_history_expires(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker, _ = periodic(monkeypatch, tmp_path, [], None)
    assert len(worker.tasks) == 2


def test_one_conductor_deletes_old_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expired: list[Database] = []
    monkeypatch.setattr(history, "expire", lambda conf, db: expired.append(db))
    worker, its_db = periodic(monkeypatch, tmp_path, [], None)
    worker.tasks[0]()
    service._periodically(conf(tmp_path), its_db, Nudger(), [], None)
    Worker.made.tasks[0]()
    assert expired == [its_db]


def test_a_lease_has_a_new_holder_after_each_start(tmp_path: Path) -> None:
    one, other = (service._holder(conf(tmp_path)) for _ in range(2))
    assert one != other
    assert one.startswith("controller ")
    assert len(one) < 255


def test_a_lease_is_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the end does not wait for a database that hangs."""
    stopped, hangs = threading.Event(), threading.Event()

    class Sync:
        def stop(self) -> None:
            stopped.set()
            hangs.wait()

    monkeypatch.setattr(service, "_GRACE", 0.01)
    service._end(Sync())  # type: ignore[arg-type]
    [thread] = [it for it in threading.enumerate() if it.name == "lease"]
    assert thread.daemon
    assert stopped.wait(60)
    hangs.set()
    thread.join()


def test_the_end_waits_for_the_lease_to_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, done = threading.Event(), threading.Event()

    class Sync:
        def stop(self) -> None:
            asked.wait()
            done.set()

    class Thread(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            asked.set()
            super().join(timeout)

    monkeypatch.setattr(threading, "Thread", Thread)
    monkeypatch.setattr(service, "_GRACE", 60)
    service._end(Sync())  # type: ignore[arg-type]
    assert done.is_set()


def ready(monkeypatch: pytest.MonkeyPatch, directory: Path, daemon: Daemon, *errors: Exception) -> bool:
    """Whether the database is ready, which has these errors at first."""
    left = list(errors)

    def check(db: Database) -> None:
        if left:
            raise left.pop(0)

    monkeypatch.setattr(readiness, "check", check)
    return service._database_is_ready(conf(directory), db(), daemon)  # type: ignore[arg-type]


def test_a_database_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = Daemon()
    assert ready(monkeypatch, tmp_path, daemon, readiness.Away("the database is away")) is True
    assert daemon.waits == [5]
    assert not daemon.failures
    assert "the database is away" in caplog.text


def test_a_database_that_refuses_us_ends_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    daemon = Daemon()
    assert ready(monkeypatch, tmp_path, daemon, readiness.Refused("no schema")) is False
    assert not daemon.waits
    [reason] = daemon.failures
    assert "no schema" in str(reason)


def test_a_program_that_is_to_stop_waits_for_no_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = [readiness.Away("away") for _ in range(3)]
    assert ready(monkeypatch, tmp_path, Daemon(), *away) is False
    assert ready(monkeypatch, tmp_path, Daemon(patience=0)) is False


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the credentials have been tried."""
    tried = threading.Event()

    def compute_hosts(nova: Nova, auth: object) -> list[str]:
        assert threading.current_thread().daemon
        tried.set()
        return []

    monkeypatch.setattr(Nova, "compute_hosts", compute_hosts)
    return tried


def test_the_tasks_that_ask_nova(tmp_path: Path, checked: threading.Event) -> None:
    its_conf = conf(tmp_path, CREDENTIALS)
    sync, line_end = service._of_servers(its_conf, db(), rpc.transport(its_conf))
    assert sync is not None
    assert line_end is not None
    assert checked.wait(60)
    turns: list[Any] = [sync._lease, line_end._turn]
    assert {turn._name for turn in turns} == {"server-sync", "lines"}
    # The lease outlasts three passes.
    assert [turn._seconds for turn in turns] == [150, 150]
    assert len({turn._holder for turn in turns}) == 2


def test_a_lease_outlasts_a_call_of_nova(tmp_path: Path, checked: threading.Event) -> None:
    its_conf = conf(tmp_path, CREDENTIALS)
    its_conf.set_override("deleted_server_interval", 10, group="conductor")
    sync, _ = service._of_servers(its_conf, db(), rpc.transport(its_conf))
    assert sync is not None
    assert sync._lease._seconds == 60
    assert its_conf.nova.timeout < 60


def test_without_credentials_nobody_asks_nova(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, checked: threading.Event
) -> None:
    its_conf = conf(tmp_path)
    assert service._of_servers(its_conf, db(), rpc.transport(its_conf)) == (None, None)
    assert "[nova] has no credentials" in caplog.text
    assert not checked.is_set()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, ""),
        (exception.Unauthorized("who?"), "Nova refuses the credentials"),
        (exception.Forbidden("no"), "Nova refuses the credentials"),
        (exception.Unavailable("Nova is away"), "cannot be checked now: Nova is away"),
    ],
    ids=["good", "unknown", "forbidden", "away"],
)
def test_the_credentials_are_tried(
    error: Exception | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[object] = []

    def compute_hosts(nova: Nova, auth: object) -> list[str]:
        asked.append(auth)
        if error is not None:
            raise error
        return []

    monkeypatch.setattr(Nova, "compute_hosts", compute_hosts)
    caplog.set_level(logging.WARNING)
    nova = Nova(conf(tmp_path, CREDENTIALS))
    auth: Any = nova.service_auth()
    service._check_credentials(nova, auth)
    assert asked == [auth]
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


@pytest.mark.parametrize(("more", "offered"), [(CREDENTIALS, False), (CREDENTIALS + PLACEMENT, True)])
def test_devices_are_offered_where_placement_is_enabled(more: str, offered: bool, tmp_path: Path) -> None:
    its_conf = conf(tmp_path, more)
    task = service._of_placement(its_conf, db(), rpc.transport(its_conf))
    assert (task is not None) is offered
    if task is not None:
        assert task._turn._name not in ("server-sync", "history", "device-leases", "lines")
        assert task._turn._seconds == 60


def test_placement_without_credentials_of_nova_is_refused(tmp_path: Path) -> None:
    its_conf = conf(tmp_path, PLACEMENT)
    with pytest.raises(credentials.Unusable, match=r"\[nova\] auth_type is not set"):
        service._of_placement(its_conf, db(), rpc.transport(its_conf))
