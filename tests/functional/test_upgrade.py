# SPDX-License-Identifier: Apache-2.0
"""Programs of RPC 1.0 and database revision 0003 beside those of this version."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.db import history, models, queries, states
from compute_shim.objects import Reason, ReasonCode, State
from tests.functional import recorded
from tests.functional.recorded import old_tree
from tests.functional.world import SERVERS, STICKS, World, tokens

_TABLES = {table.name: table for table in models.Base.metadata.sorted_tables}
SERVER = SERVERS["DEMO"].id
TAKEN, FAILED = (f"000d0000-0000-0000-0000-00000000000{number}" for number in (2, 3))
FREE = "000d0000-0000-0000-0000-000000000001"


class OldApi:
    """An API of that version, on a database that is migrated, beside a conductor of this version."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._engine = world.db.engine()
        name = self._engine.dialect.name
        dialect = "mariadb" if name in ("mysql", "mariadb") else name
        self.operations = {it.name: it for it in recorded.api_statements(dialect)}

    def fill(self) -> None:
        """Insert the rows that its operations begin with, without the columns that it does not know."""
        with self._engine.begin() as connection:
            for name, rows in recorded.rows().items():
                for row in rows:
                    connection.execute(sa.insert(_bare(name, list(row))).values(_times(row)))

    def play(self, *names: str) -> None:
        """Do operations; each changes as many rows as it did then."""
        for name in names:
            for statement, count in self._executed(name):
                if not statement.text.startswith("SELECT"):
                    assert statement.rowcount in (None, count), (name, statement.text)

    def play_all(self) -> None:
        """Do all operations; each changes and finds as many rows as it did then."""
        for name in self.operations:
            for statement, count in self._executed(name):
                assert statement.rowcount in (None, count), (name, statement.text)

    def _executed(self, name: str) -> Iterator[tuple[recorded.Statement, int]]:
        with self._engine.begin() as connection:
            for statement in self.operations[name].statements:
                result = connection.exec_driver_sql(statement.text, statement.parameters)
                is_select = statement.text.startswith("SELECT")
                yield statement, len(result.all()) if is_select else result.rowcount

    def rows(self, name: str, columns: list[str]) -> list[dict[str, Any]]:
        """What a table holds, in the order of `recorded.rows_after`."""
        table = _TABLES[name]
        with self._engine.connect() as connection:
            statement = sa.select(*(table.c[column] for column in columns)).order_by(*table.primary_key)
            return [dict(row) for row in connection.execute(statement).mappings()]

    def row(self, device_id: str) -> models.Device:
        row = queries.device(self.world.db, device_id)
        assert row is not None
        return row


def _bare(name: str, columns: list[str]) -> sa.TableClause:
    """A table that knows some columns only, and no defaults."""
    return sa.table(name, *(sa.column(column, _TABLES[name].c[column].type) for column in columns))


def _times(row: dict[str, Any]) -> dict[str, Any]:
    names = ("created_at", "updated_at", "last_seen")
    return {
        name: datetime.datetime.fromisoformat(value) if name in names else value
        for name, value in row.items()
    }


@pytest.fixture
def old_api(database_url: str, tmp_path: Path) -> Iterator[OldApi]:
    with tokens():
        api = OldApi(World(database_url, tmp_path, migrated=True))
        api.fill()
        yield api


def test_an_old_api_does_on_the_new_schema_what_it_did_on_its_own(old_api: OldApi) -> None:
    old_api.play_all()
    for name, rows in recorded.rows_after().items():
        assert old_api.rows(name, list(rows[0])) == [_times(row) for row in rows], name


def test_columns_that_an_old_api_leaves_out_are_empty(old_api: OldApi) -> None:
    old_api.play_all()
    for name in ("host_usb_devices", "usb_device_events"):
        known = set(recorded.rows()[name][0]) | {"id"}
        new = [column.name for column in _TABLES[name].columns if column.name not in known]
        assert {value for row in old_api.rows(name, new) for value in row.values()} == {None}, name


def _sync(api: OldApi) -> list[dict[str, Any]]:
    """The agent tells of all sticks but the last."""
    sticks: dict[str, Any] = {name: {} for name in STICKS if name != "STICK4"}
    return api.world.sync(**sticks)


def _fail(api: OldApi, device_id: str) -> None:
    api.world.report(device_id, State.FAILED, "no controller", ReasonCode.NO_USB_CONTROLLER)
    assert states.reason(api.row(device_id)) == Reason(ReasonCode.NO_USB_CONTROLLER, "no controller")


def test_a_claim_that_failed_and_is_tried_again_by_an_old_api_has_no_reason(old_api: OldApi) -> None:
    _sync(old_api)
    _fail(old_api, FAILED)
    old_api.play("retry")
    row = old_api.row(FAILED)
    assert (row.state, row.reason_code) == (State.ATTACHING, ReasonCode.NO_USB_CONTROLLER)
    assert states.reason(row) is None
    shown = old_api.world.request("admin", "GET", f"/v1/devices/{FAILED}").json["device"]
    assert (shown["state"], shown["reason_code"], shown["state_reason"]) == ("attaching", None, None)
    [claim] = [claim for claim in _sync(old_api) if claim["device_id"] == FAILED]
    assert (claim["server_id"], claim["state"], claim["reason_code"]) == (SERVER, State.ATTACHING, None)


def test_a_claim_that_failed_and_is_given_up_by_an_old_api_has_no_reason(old_api: OldApi) -> None:
    _sync(old_api)
    _fail(old_api, FAILED)
    old_api.play("detach")
    assert states.reason(old_api.row(FAILED)) is None
    old_api.world.report(FAILED, State.AVAILABLE)
    assert old_api.row(FAILED).state == State.AVAILABLE
    [last, *_] = history.page(old_api.world.db, history.Filter(FAILED))
    assert (last.cause_code, last.reason_code, last.instance_uuid) == (ReasonCode.REQUESTED, None, SERVER)


def test_a_device_that_an_old_api_disables_and_enables(old_api: OldApi) -> None:
    _sync(old_api)
    old_api.play("disable")
    assert states.reason(old_api.row(FREE)) == Reason(ReasonCode.DISABLED)
    [claim] = [claim for claim in _sync(old_api) if claim["device_id"] == FREE]
    assert (claim["state"], claim["reason_code"]) == (State.UNAVAILABLE, ReasonCode.DISABLED)
    old_api.world.sync()
    _sync(old_api)  # worked through: a code is stored now
    assert old_api.row(FREE).reason_code == ReasonCode.DISABLED
    old_api.play("enable")
    row = old_api.row(FREE)
    assert (row.state, row.reason_code, states.reason(row)) == (State.AVAILABLE, ReasonCode.DISABLED, None)


def test_a_device_that_an_old_api_attaches_is_attached_by_a_new_conductor(old_api: OldApi) -> None:
    _sync(old_api)
    old_api.play("attach")
    [claim] = [claim for claim in _sync(old_api) if claim["device_id"] == FREE]
    assert (claim["server_id"], claim["generation"]) == (SERVER, 1)
    old_api.world.report(FREE, State.ATTACHED)
    assert (old_api.row(FREE).state, old_api.row(FREE).project_id) == (
        State.ATTACHED,
        SERVERS["DEMO"].project_id,
    )


def test_the_history_that_an_old_api_writes_is_read(old_api: OldApi) -> None:
    old_api.play("disable", "enable")
    answer = old_api.world.request("admin", "GET", f"/v1/devices/{FREE}/events").json["events"]
    assert [(event["cause_code"], event["state"], event["reason_code"]) for event in answer] == [
        ("requested", "available", None),
        ("requested", "unavailable", "disabled"),
        ("plugged_in", "available", None),
    ]


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [
        (State.WAITING, "the server is off", ReasonCode.SERVER_OFF),
        (State.WAITING, "unplugged", ReasonCode.UNPLUGGED),
        (State.FAILED, "internal error: no such thing", ReasonCode.HYPERVISOR_ERROR),
        (State.FAILED, "the server has no USB controller", ReasonCode.NO_USB_CONTROLLER),
    ],
)
def test_what_an_old_conductor_says_ends_the_code_that_is_stored(
    old_api: OldApi, state: State, text: str, code: ReasonCode
) -> None:
    """It changes state and text and knows no code."""
    _sync(old_api)
    old_api.world.report(FAILED, State.WAITING, reason_code=ReasonCode.SERVER_SHELVED)
    with old_api.world.db.engine().begin() as connection:
        claim = models.Device.id == FAILED
        connection.execute(sa.update(models.Device).where(claim).values(state=state, state_reason=text))
    why = states.reason(old_api.row(FAILED))
    assert why is not None
    assert why.code == code


def _place(world: World, claims: list[old_tree.Claim], host: str) -> None:
    """Make the rows of a host what they were when a conductor of RPC 1.0 answered."""
    with world.db.engine().begin() as connection:
        for claim in claims:
            row = (models.Device.host == host) & (models.Device.identity == claim.identity)
            holder = claim.server_id or (SERVER if claim.ending else None)
            changes: dict[str, Any] = {
                "id": claim.device_id,
                "generation": claim.generation,
                "instance_uuid": holder,
                "state": claim.state,
                "state_reason": claim.reason,
            }
            if claim.reason == "disabled by the operator":
                changes["enabled"] = False
            connection.execute(sa.update(models.Device).where(row).values(**changes))


def _said(claims: list[old_tree.Claim]) -> Counter[tuple[Any, ...]]:
    return Counter(dataclasses.astuple(claim) for claim in claims)


def test_an_old_agent_understands_a_new_conductor(every_world: World) -> None:
    """It gets of every row what a conductor of its own version made of it, in words that it knows.

    Its reports arrive as well: what it said is in the answer to the next sync.
    """
    world = every_world
    for message in recorded.agent_messages():
        arguments = message.arguments
        if message.method == "report":
            world.conductor.report({}, **arguments)
            _reported(world, arguments["outcomes"])
            continue
        answered = old_tree.claims(message.answer)
        world.conductor.sync({}, **arguments)
        _place(world, answered, arguments["host"])
        got = old_tree.claims(world.conductor.sync({}, **arguments))
        known = {claim.identity for claim in answered}
        assert _said([claim for claim in got if claim.identity in known]) == _said(answered), message.what


def _reported(world: World, outcomes: list[dict[str, Any]]) -> None:
    """A new conductor has taken every outcome of an old agent, with a code for every reason."""
    for outcome in outcomes:
        row = queries.device(world.db, outcome["device_id"])
        assert row is not None
        assert row.state == outcome["state"]
        assert (row.reason_code is None) == (row.state_reason is None)
        if outcome["state"] != State.AVAILABLE:
            assert (states.reason(row) is None) == (outcome["reason"] is None)
