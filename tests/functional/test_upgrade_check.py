# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-status upgrade check`` finds each mistake that is planted in a right installation."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
import sqlalchemy as sa
from oslo_utils import timeutils
from oslo_utils.fixture import TimeFixture

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.cmd import status
from compute_shim.cmd.checks import message_bus
from compute_shim.conductor.manager import Manager
from compute_shim.conf import database
from compute_shim.db import migrations
from compute_shim.db.api import Database
from tests.functional import amqp, databases, json_server
from tests.functional.installation import PASSWORD, REGION, Cloud, Installation
from tests.functional.programs import connection, create_schema

_SUCCESS, _WARNING, _FAILURE = 0, 1, 2
# Nobody listens on port 1 (tcpmux).
_NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema and one agent, to be copied."""
    directory = tmp_path_factory.mktemp("prepared")
    file = directory / "usb.sqlite"
    create_schema(directory, f"sqlite:///{file}")
    Installation(directory, Cloud(), "http://nowhere", "none", f"sqlite:///{file}").agent("compute1")
    return file


@pytest.fixture(scope="module")
def exchange(prepared: Path) -> Iterator[str]:
    """The exchange on the bus of this process where a conductor answers."""
    file = prepared.with_name("conductor.conf")
    name = "upgrade-check"
    file.write_text(
        f"[DEFAULT]\ntransport_url = fake:///\ncontrol_exchange = {name}\n{connection(f'sqlite:///{prepared}')}"
    )
    conf = configuration.load([f"--config-file={file}"])
    database.register(conf)
    server = rpc.server(rpc.transport(conf), rpc.CONDUCTOR_TOPIC, "controller", Manager(Database(conf)))
    server.start()
    yield name
    server.stop()
    server.wait()


@pytest.fixture
def installation(tmp_path: Path, prepared: Path, exchange: str) -> Iterator[Installation]:
    """All is well in it."""
    cloud = Cloud()
    file = tmp_path / "usb.sqlite"
    shutil.copy(prepared, file)
    with json_server.serve(cloud.answer) as keystone:
        found = Installation(tmp_path, cloud, keystone, exchange, f"sqlite:///{file}")
        found.agent("compute1")
        yield found


def test_all_is_well(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installation.check(monkeypatch) == 0
    table = capsys.readouterr().out
    assert table.count("Result: Success") == len(status._CHECKS)
    rows = installation.rows(monkeypatch, capsys)
    assert set(rows.values()) == {(_SUCCESS, None)}


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One that an operator may make.

    :param plant: makes it.
    :param row: of the check that finds it.
    :param words: what the check says of it, among other things.
    """

    name: str
    plant: Callable[[Installation], None]
    row: str
    result: int
    words: tuple[str, ...]


def _set(section: str, **options: Any) -> Callable[[Installation], None]:
    return lambda here: here.set(section, **options)


def _cloud(**values: Any) -> Callable[[Installation], None]:
    def change(here: Installation) -> None:
        for name, value in values.items():
            assert hasattr(here.cloud, name)
            setattr(here.cloud, name, value)

    return change


def _revision(number: str) -> Callable[[Installation], None]:
    def change(here: Installation) -> None:
        with here.db.writer() as session:
            session.execute(sa.text("UPDATE alembic_version SET version_num = :now"), {"now": number})

    return change


def _agent(host: str, **values: Any) -> Callable[[Installation], None]:
    def change(here: Installation) -> None:
        here.agent(host, **values)
        here.cloud.services.setdefault(host, "up")

    return change


def _policies(text: str) -> Callable[[Installation], None]:
    def change(here: Installation) -> None:
        file = here.file.with_name("rules.yaml")
        file.write_text(text)
        here.set("oslo_policy", policy_file=file)

    return change


def _two_regions(here: Installation) -> None:
    here.set("nova", region_name=None)
    here.cloud.endpoints += [("compute", "internal", "RegionTwo")]


def _nova_away(here: Installation) -> None:
    here.set("nova", endpoint_override=f"http://{_NOBODY}/v2.1")


_COMPUTE = [("compute", "public", REGION), ("compute", "internal", REGION)]

MISTAKES = [
    # The database.
    Mistake(
        "no database",
        _set("database", connection=None),
        "Database",
        _FAILURE,
        ("[database] connection is not set", "mysql+pymysql://"),
    ),
    Mistake(
        "a database that does not run",
        _set("database", connection=f"mysql+pymysql://usb:{PASSWORD}@{_NOBODY}/usb"),
        "Database",
        _FAILURE,
        ("Database usb at 127.0.0.1:1: The database does not answer", "[database] connection", "refused"),
    ),
    Mistake(
        "a driver that does not exist",
        _set("database", connection=f"mysql+nonsense://usb:{PASSWORD}@{_NOBODY}/usb"),
        "Database",
        _FAILURE,
        ("[database] connection is not a valid URL",),
    ),
    Mistake(
        "no schema",
        lambda here: here.set("database", connection=f"sqlite:///{here.file.with_name('empty.sqlite')}"),
        "Database",
        _FAILURE,
        ("has no schema", "usb-shim-manage db sync"),
    ),
    Mistake(
        "an old schema",
        _revision("0001"),
        "Database",
        _FAILURE,
        ("too old (0001)", "usb-shim-manage db sync"),
    ),
    Mistake(
        "a schema of a later release",
        _revision("9999"),
        "Database",
        _WARNING,
        ("later release (9999)", "Upgrade this machine's package"),
    ),
    # The message bus.
    Mistake(
        "no message bus",
        _set("DEFAULT", transport_url=None),
        "Bus",
        _FAILURE,
        ("[DEFAULT] transport_url is not set", "rabbit://"),
    ),
    Mistake(
        "a message bus that does not run",
        _set("DEFAULT", transport_url=f"rabbit://usb:{PASSWORD}@{_NOBODY}/"),
        "Bus",
        _FAILURE,
        ("The message bus at 127.0.0.1:1/ cannot be used", "refused", "[DEFAULT] transport_url"),
    ),
    Mistake(
        "a transport_url with an unknown scheme",
        _set("DEFAULT", transport_url="carrier-pigeon://bus/"),
        "Bus",
        _FAILURE,
        ("Check [DEFAULT] transport_url",),
    ),
    # Keystone.
    Mistake(
        "no www_authenticate_uri",
        _set("keystone_authtoken", www_authenticate_uri=None),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken] www_authenticate_uri is not set", "public URL"),
    ),
    Mistake(
        "no credentials to validate tokens with",
        _set("keystone_authtoken", auth_type=None),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken] auth_type is not set", "password"),
    ),
    Mistake(
        "auth_type misspelt",
        _set("keystone_authtoken", auth_type="pasword"),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken] auth_type", "pasword", "usually password"),
    ),
    Mistake(
        "no auth_url",
        _set("keystone_authtoken", auth_url=None),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken]", "auth_url", "Set it"),
    ),
    Mistake(
        "no password in [keystone_authtoken]",
        _set("keystone_authtoken", password=None),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken] password is not set", "Set it"),
    ),
    Mistake(
        "no project in [keystone_authtoken]",
        _set("keystone_authtoken", project_name=None, project_domain_name=None),
        "Keystone",
        _FAILURE,
        ("[keystone_authtoken] project_name is not set", "Set it"),
    ),
    Mistake(
        "a wrong password in [keystone_authtoken]",
        _set("keystone_authtoken", password="wr0ng"),
        "Keystone",
        _FAILURE,
        ("refuses the credentials of [keystone_authtoken]", "HTTP 401", "Check username, password"),
    ),
    Mistake(
        "a Keystone that does not run",
        _set("keystone_authtoken", auth_url=f"http://{_NOBODY}/v3"),
        "Keystone",
        _FAILURE,
        (f"Keystone at http://{_NOBODY}/v3 cannot be used", "[keystone_authtoken] auth_url"),
    ),
    Mistake(
        "an auth_url where something else answers",
        lambda here: here.set(
            "keystone_authtoken", auth_url=here.sections["nova"]["auth_url"].replace("/v3", "/nova/v3")
        ),
        "Keystone",
        _FAILURE,
        ("is not Keystone", "[keystone_authtoken] auth_url", "http://controller:5000/v3"),
    ),
    Mistake(
        "a service user without a role",
        _cloud(roles=["member"]),
        "Keystone",
        _WARNING,
        (
            "neither the role admin nor service",
            "openstack role add --project service --user usb-shim service",
        ),
    ),
    Mistake(
        "no endpoint",
        _cloud(endpoints=_COMPUTE),
        "Keystone",
        _FAILURE,
        (
            "no endpoint of usb-passthrough",
            "openstack endpoint create --region RegionOne usb-passthrough public",
        ),
    ),
    Mistake(
        "no public endpoint",
        _cloud(endpoints=[*_COMPUTE, ("usb-passthrough", "internal", REGION)]),
        "Keystone",
        _FAILURE,
        ("no public endpoint of usb-passthrough", "openstack endpoint create"),
    ),
    Mistake(
        "an endpoint in another region",
        _cloud(endpoints=[*_COMPUTE, ("usb-passthrough", "public", "RegionTwo")]),
        "Keystone",
        _FAILURE,
        ("in RegionTwo, not in RegionOne", "[nova] region_name", "openstack endpoint create"),
    ),
    # Agents and hosts.
    Mistake(
        "an agent that is down", _agent("compute2", age=3600), "Agents", _WARNING, ("Down: compute2. Start",)
    ),
    Mistake(
        "an agent of an old version",
        _agent("compute2", version="1.1"),
        "Agents",
        _WARNING,
        ("compute2 (1.1)", "Upgrade them"),
    ),
    Mistake(
        "the hook of libvirt is missing",
        _agent("compute2", problems=["libvirt's hook is missing. Install it."]),
        "Hosts",
        _WARNING,
        ("compute2: libvirt's hook is missing",),
    ),
    Mistake(
        "the clock of a conductor is ahead",
        _agent("compute2", age=-30),
        "Clocks",
        _WARNING,
        ("clock of a conductor is ahead", "compute2", "Synchronize the clocks"),
    ),
    # Nova.
    Mistake(
        "no credentials for Nova",
        _set("nova", auth_type=None),
        "Nova",
        _WARNING,
        ("[nova] auth_type is not set", "not released", "Set it"),
    ),
    Mistake(
        "a wrong password in [nova]",
        _set("nova", password="wr0ng"),
        "Nova",
        _FAILURE,
        ("refuses the credentials of [nova]", "HTTP 401", "Check username, password"),
    ),
    Mistake(
        "a region that does not exist",
        _set("nova", region_name="RegionTwo"),
        "Nova",
        _FAILURE,
        (
            "[nova] region_name = RegionTwo",
            "public in RegionOne, internal in RegionOne",
            "Correct the options",
        ),
    ),
    Mistake(
        "an interface that the catalog has not",
        _set("nova", valid_interfaces="admin"),
        "Nova",
        _FAILURE,
        ("valid_interfaces = admin", "public in RegionOne", "Correct the options"),
    ),
    Mistake(
        "several regions, none chosen",
        _two_regions,
        "Nova",
        _FAILURE,
        ("regions RegionOne, RegionTwo", "Set [nova] region_name"),
    ),
    Mistake("a Nova that does not run", _nova_away, "Nova", _FAILURE, ("Nova does not answer", "refused")),
    Mistake(
        "a user who may not list Nova's services",
        _cloud(refusal=403),
        "Nova",
        _FAILURE,
        ("does not allow the user of [nova]", "openstack role add"),
    ),
    Mistake(
        "a host name that Nova does not know",
        _cloud(services={"compute1.example": "up"}),
        "Nova",
        _WARNING,
        ("Nova has no nova-compute on compute1", "[DEFAULT] host"),
    ),
    Mistake(
        "a nova-compute that is down",
        _cloud(services={"compute1": "down"}),
        "Nova",
        _WARNING,
        ("nova-compute is down on compute1",),
    ),
    # Placement.
    Mistake(
        "no credentials for Placement",
        _set("placement", auth_type=None),
        "Placement",
        _FAILURE,
        ("[placement] auth_type is not set", "Set it to password"),
    ),
    Mistake(
        "devices that are offered without credentials for Nova",
        _set("nova", auth_type=None),
        "Placement",
        _FAILURE,
        ("[placement] enabled is true and [nova] auth_type is not set", "or enabled = false"),
    ),
    Mistake(
        "no endpoint of Placement",
        _cloud(endpoints=[*_COMPUTE, ("usb-passthrough", "public", REGION)]),
        "Placement",
        _FAILURE,
        ("no service placement", "[placement] service_type"),
    ),
    Mistake(
        "a Placement that does not run",
        _set("placement", endpoint_override=f"http://{_NOBODY}/placement"),
        "Placement",
        _FAILURE,
        ("Placement does not answer as it should", "refused"),
    ),
    Mistake(
        "a user who may not see resource providers",
        _cloud(refusal=403),
        "Placement",
        _FAILURE,
        ("HTTP 403", "user of [placement]", "role admin or service"),
    ),
    # Options.
    Mistake(
        "host_down_time shorter than two heartbeats",
        _set("conductor", host_down_time=15),
        "Options",
        _FAILURE,
        ("[conductor] host_down_time (15)", "[agent] sync_interval (20)", "Raise host_down_time"),
    ),
    Mistake(
        "notifications without a driver",
        _set("oslo_messaging_notifications", transport_url="fake:///"),
        "Options",
        _FAILURE,
        ("[oslo_messaging_notifications] transport_url", "Set driver = messagingv2"),
    ),
    Mistake(
        "a driver for notifications that is none",
        _set("oslo_messaging_notifications", driver="mesagingv2"),
        "Options",
        _FAILURE,
        ("[oslo_messaging_notifications] driver", "mesagingv2", "messagingv2"),
    ),
    Mistake(
        "an RPC version that stayed pinned",
        _set("upgrade_levels", agent="1.1"),
        "Options",
        _WARNING,
        ("[upgrade_levels] agent = 1.1", "Remove it"),
    ),
    Mistake(
        "a policy misspelt",
        _policies('"usb-passthrough:device:list": "role:admin"\n'),
        "Policies",
        _WARNING,
        ("rules.yaml", "usb-passthrough:device:list", "Correct the names"),
    ),
    Mistake(
        "a policy that names a rule which is not there",
        _policies('"usb-passthrough:devices:list": "rule:nobody"\n'),
        "Policies",
        _FAILURE,
        ("rules.yaml", "unknown rule", "Correct it"),
    ),
    Mistake(
        "policies that are no YAML",
        _policies('"usb-passthrough:devices:list: role:admin"\n: [\n'),
        "Policies",
        _FAILURE,
        ("rules.yaml", "cannot be read", "Correct"),
    ),
    Mistake(
        "a policy file that is not there",
        _set("oslo_policy", policy_file="/nonexistent/policy.yaml"),
        "Policies",
        _WARNING,
        ("/nonexistent/policy.yaml is not there", "Correct it"),
    ),
    Mistake(
        "a section for the quota without credentials",
        _set("oslo_limit", endpoint_service_type="usb-passthrough"),
        "Quota",
        _FAILURE,
        ("[oslo_limit]",),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "-"))
def test_each_mistake_is_found(
    mistake: Mistake,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mistake.plant(installation)
    _finds(installation.rows(monkeypatch, capsys), mistake.row, mistake.result, *mistake.words)


def _finds(rows: dict[str, tuple[int, str | None]], row: str, result: int, *words: str) -> None:
    assert set(rows) == {name for name, *_rest in status._CHECKS}  # each check runs, whatever others find
    found, details = rows[row]
    assert details is not None
    print(f"{row}: {details}")
    for text in words:
        assert text in details
    assert found == result
    assert "\n" not in details
    assert PASSWORD not in details
    assert "Report this as a bug" not in str(rows)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_database_that_does_not_know_the_user(
    kind: str,
    request: pytest.FixtureRequest,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server: databases.Server = request.getfixturevalue(kind)
    url = sa.make_url(server.create_database()).set(username="nobody", password=PASSWORD)
    installation.set("database", connection=url.render_as_string(hide_password=False))
    words = ("does not let us in", "nobody", "[database] connection")
    _finds(installation.rows(monkeypatch, capsys), "Database", _FAILURE, *words)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_all_is_well_with_a_database_server(
    kind: str,
    request: pytest.FixtureRequest,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    url = request.getfixturevalue(kind).create_database()
    create_schema(tmp_path, url)
    installation.set("database", connection=url)
    rows = installation.rows(monkeypatch, capsys)
    assert rows["Database"] == rows["Clocks"] == (_SUCCESS, None)


@pytest.mark.parametrize(
    ("code", "text"), [(403, "ACCESS_REFUSED - Login was refused"), (530, "NOT_ALLOWED - vhost x not found")]
)
def test_a_message_bus_that_refuses_us(
    code: int,
    text: str,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with amqp.refusing(code, text) as address:
        installation.set("DEFAULT", transport_url=f"rabbit://usb:{PASSWORD}@{address}/x")
        rows = installation.rows(monkeypatch, capsys)
    _finds(rows, "Bus", _FAILURE, address, text, "user, password and virtual host in [DEFAULT] transport_url")
    assert rows["Conductor"][0] == _WARNING


def test_no_conductor_runs(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(message_bus, "_PATIENCE", 1)
    installation.set("DEFAULT", control_exchange="where-nobody-is")
    words = ("No conductor answers", "Start usb-shim-conductor", "[DEFAULT] transport_url")
    _finds(installation.rows(monkeypatch, capsys), "Conductor", _WARNING, *words)


class _BrokenManager:
    """A conductor whose database is away."""

    target = oslo_messaging.Target(version=rpc.CONDUCTOR_VERSION)

    def report(self, context: dict[str, Any], host: str, outcomes: list[dict[str, Any]]) -> None:
        raise RuntimeError("The database does not answer.")


def test_a_conductor_that_does_not_work(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.set("DEFAULT", control_exchange="broken")
    bus = rpc.transport(configuration.load([f"--config-file={installation.write()}"]))
    server = rpc.server(bus, rpc.CONDUCTOR_TOPIC, "controller", _BrokenManager())
    server.start()
    rows = installation.rows(monkeypatch, capsys)
    server.stop()
    server.wait()
    _finds(rows, "Conductor", _FAILURE, "The conductor does not work", "does not answer", "See its log")


def test_the_clock_of_this_machine_is_off(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("The clock of this machine is", "s behind that of the database", "Synchronize the clocks")
    an_hour_ago = timeutils.utcnow() - datetime.timedelta(hours=1)
    with TimeFixture(an_hour_ago):
        rows = installation.rows(monkeypatch, capsys)
    _finds(rows, "Clocks", _WARNING, *words)


def test_a_package_without_migrations(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(migrations, "_DIRECTORY", tmp_path)
    words = (f"There are no migrations in {tmp_path}/versions", "Install openstack-usb-passthrough again")
    _finds(installation.rows(monkeypatch, capsys), "Database", _FAILURE, *words)


@pytest.mark.parametrize(
    ("row", "section", "options"),
    [
        ("Database", "database", {"connection": "mysql+pymysql://usb@{silent}/usb"}),
        ("Bus", "DEFAULT", {"transport_url": "rabbit://usb@{silent}/"}),
        ("Keystone", "keystone_authtoken", {"auth_url": "http://{silent}/v3"}),
        ("Nova", "nova", {"endpoint_override": "http://{silent}/v2.1"}),
    ],
)
def test_a_peer_that_never_answers_does_not_stop_the_check(
    row: str,
    section: str,
    options: dict[str, str],
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(status, "_PATIENCE", 1)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        installation.set(section, **{name: value.format(silent=address) for name, value in options.items()})
        rows = installation.rows(monkeypatch, capsys)
    _finds(rows, row, _FAILURE, "no answer within 1 s", f"[{section}]")


def test_a_check_that_fails_is_a_row_as_well(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(installation: Any) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(status, "_CHECKS", (("Broken", fail, "nothing"), *status._CHECKS))
    rows = installation.rows(monkeypatch, capsys)
    assert rows.pop("Broken") == (
        _FAILURE,
        "The check failed: RuntimeError: unforeseen. Report this as a bug.",
    )
    assert set(rows.values()) == {(_SUCCESS, None)}


def test_the_program_prints_json_alone_on_stdout(tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = rabbit://usb:{PASSWORD}@{_NOBODY}/\n")
    command = [sys.executable, "-m", "compute_shim.cmd.status", f"--config-file={file}", "upgrade", "check"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == _FAILURE
    assert [row["check"] for row in json.loads(done.stdout)["checks"]] == [
        name for name, *_ in status._CHECKS
    ]
    assert PASSWORD not in done.stdout + done.stderr
