# SPDX-License-Identifier: Apache-2.0
"""What was recorded of RPC 1.0 and of database revision 0003 is whole, and is read as it was then."""

from __future__ import annotations

import dataclasses
import re
import sqlite3

import pytest

from tests.functional import recorded
from tests.functional.recorded import old_tree

_MESSAGES = recorded.agent_messages()
_SYNCS = [message for message in _MESSAGES if message.method == "sync"]
_REPORTS = [message for message in _MESSAGES if message.method == "report"]
_CLAIMS = [claim for message in _SYNCS for claim in old_tree.claims(message.answer)]
_OUTCOMES = [outcome for message in _REPORTS for outcome in old_tree.outcomes(message.arguments["outcomes"])]


def _name(message: recorded.Message) -> str:
    return message.what


@pytest.mark.parametrize("message", _SYNCS, ids=_name)
def test_the_old_conductor_reads_a_sync_as_it_is(message: recorded.Message) -> None:
    devices = old_tree.devices(message.arguments["devices"])
    assert [dataclasses.asdict(device) for device in devices] == message.arguments["devices"]
    problems = message.arguments.get("problems", [])
    assert old_tree.problems(problems) == problems
    assert old_tree.host(message.arguments["host"])


@pytest.mark.parametrize("message", _REPORTS, ids=_name)
def test_the_old_conductor_reads_a_report_as_it_is(message: recorded.Message) -> None:
    outcomes = old_tree.outcomes(message.arguments["outcomes"])
    assert [dataclasses.asdict(outcome) for outcome in outcomes] == message.arguments["outcomes"]
    assert message.answer is None


@pytest.mark.parametrize("message", _SYNCS, ids=_name)
def test_the_old_agent_reads_an_answer_as_it_is(message: recorded.Message) -> None:
    assert [dataclasses.asdict(claim) for claim in old_tree.claims(message.answer)] == message.answer


@pytest.mark.parametrize("message", recorded.nudges(), ids=_name)
def test_the_old_agent_reads_a_nudge_as_it_is(message: recorded.Message) -> None:
    claim = old_tree.claim_changed(message.arguments["claim"])
    assert {"claim": dataclasses.asdict(claim)} == message.arguments
    assert claim.ending == (message.what in ("detach", "server deleted"))


def test_every_message_is_of_version_1_0() -> None:
    assert {message.version for message in [*_MESSAGES, *recorded.nudges()]} == {"1.0"}
    assert {message.what for message in recorded.nudges()} == {"attach", "retry", "detach", "server deleted"}


@pytest.mark.parametrize("message", [*_MESSAGES, *recorded.conductor_answered()], ids=_name)
def test_a_message_has_the_arguments_that_the_old_conductor_takes(message: recorded.Message) -> None:
    arguments = recorded.conductor_arguments(message.method)
    needed = {name for name, is_needed in arguments.items() if is_needed}
    assert needed <= set(message.arguments) <= set(arguments)


def test_there_is_an_older_form_of_sync() -> None:
    assert [message for message in _SYNCS if "problems" not in message.arguments]
    assert [message for message in _SYNCS if message.arguments.get("problems")]


def test_there_are_devices_of_every_kind() -> None:
    devices = [device for message in _SYNCS for device in old_tree.devices(message.arguments["devices"])]
    blocked = {device.blocked_reason for device in devices}
    assert blocked == {None, old_tree.NOT_ALLOWED, *recorded.texts()["blocked"]}
    assert [device for device in devices if not device.name.isascii()]
    assert [message for message in _SYNCS if not message.arguments["devices"]]


def test_there_is_every_state() -> None:
    assert {claim.state for claim in _CLAIMS} == set(old_tree.State)
    unsaid = {old_tree.State.ATTACHING, old_tree.State.UNAVAILABLE}
    assert {outcome.state for outcome in _OUTCOMES} == set(old_tree.State) - unsaid


def test_there_is_every_reason_to_wait() -> None:
    waiting = {claim.reason for claim in _CLAIMS if claim.state == old_tree.State.WAITING}
    assert waiting == set(old_tree.Waiting) == set(recorded.texts()["waiting"])


@pytest.mark.parametrize("origin", ["executor", "qemu", "lxc", "libvirt", "planner", "blocked"])
def test_there_is_every_reason_to_fail(origin: str) -> None:
    failed = {claim.reason for claim in _CLAIMS if claim.state == old_tree.State.FAILED}
    failed_outcomes = {it.reason for it in _OUTCOMES if it.state == old_tree.State.FAILED}
    assert set(recorded.texts()[origin]) <= failed & failed_outcomes


def test_there_is_every_reason_of_what_no_server_has() -> None:
    unavailable = {claim.reason for claim in _CLAIMS if claim.state == old_tree.State.UNAVAILABLE}
    texts = recorded.texts()
    assert unavailable == {old_tree.Waiting.UNPLUGGED, *texts["blocked"], *texts["database"]}
    available = {it.reason for it in _OUTCOMES if it.state == old_tree.State.AVAILABLE}
    assert available == {None, *texts["resets"]}
    for detaching in (_CLAIMS, _OUTCOMES):
        reasons = {it.reason for it in detaching if it.state == old_tree.State.DETACHING}
        assert {None, old_tree.Waiting.BUSY} < reasons


def test_the_old_agent_stumbles_over_a_key_that_it_does_not_know() -> None:
    """As the old programs do: what is sent to them must not have one."""
    claim = recorded.nudges()[0].arguments["claim"]
    with pytest.raises(TypeError, match="reason_code"):
        old_tree.claim_changed(claim | {"reason_code": "x"})
    with pytest.raises(TypeError, match="reason_code"):
        old_tree.claims([claim | {"reason_code": "x"}])


def test_the_old_conductor_ignores_keys_that_it_does_not_know_and_records_that_are_short() -> None:
    kept = {
        message.what: len(old_tree.devices(message.arguments["devices"]))
        if message.method == "sync"
        else len(old_tree.outcomes(message.arguments["outcomes"]))
        for message in recorded.conductor_answered()
    }
    assert kept == {
        "unknown key of a device": 1,
        "device without a key": 0,
        "unknown key of an outcome": 1,
        "outcome in an unknown state": 0,
    }


def test_what_the_old_conductor_refuses() -> None:
    refused = {it.what: it.raises["type"] for it in recorded.conductor_refused() if it.raises is not None}
    assert refused == {
        "unknown argument of sync": "TypeError",
        "unknown argument of report": "TypeError",
        "version 1.1 of sync": "UnsupportedVersion",
        "version 1.1 of report": "UnsupportedVersion",
        "version 2.0 of sync": "UnsupportedVersion",
        "unknown method": "NoSuchMethod",
        "not the name of a host": "ValueError",
    }


def test_the_statements_do_on_the_old_schema_what_they_did_then() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in recorded.schema():
        connection.execute(statement)
    for table, rows in recorded.rows().items():
        for row in rows:
            places = ", ".join("?" * len(row))
            insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608
            connection.execute(insert, tuple(row.values()))
    for operation in recorded.api_statements("sqlite"):
        for it in operation.statements:
            cursor = connection.execute(it.text, it.parameters)
            rowcount = len(cursor.fetchall()) if it.text.startswith("SELECT") else cursor.rowcount
            assert it.rowcount in (None, rowcount), operation.name
    for table, rows in recorded.rows_after().items():
        found = connection.execute(f"SELECT {', '.join(rows[0])} FROM {table} ORDER BY rowid")  # noqa: S608
        assert found.fetchall() == [tuple(row.values()) for row in rows]
    connection.close()


@pytest.mark.parametrize("dialect", recorded.DIALECTS)
def test_every_dialect_has_every_operation_and_every_parameter(dialect: str) -> None:
    operations = recorded.api_statements(dialect)
    changes = [
        [(operation.name, it.text.split()[0], it.rowcount) for it in operation.statements]
        for operation in operations
    ]
    assert changes == [
        [(operation.name, it.text.split()[0], it.rowcount) for it in operation.statements]
        for operation in recorded.api_statements("sqlite")
    ]
    for it in (statement for operation in operations for statement in operation.statements):
        if isinstance(it.parameters, dict):
            assert set(re.findall(r"%\((\w+)\)s", it.text)) == set(it.parameters)
        else:
            assert it.text.count("?") == len(it.parameters)


def test_what_is_inserted_names_all_columns_that_must_be_given() -> None:
    [events] = [statement for statement in recorded.schema() if "TABLE usb_device_events" in statement]
    needed = set(re.findall(r"(\w+) [A-Z]+(?:\(\d+\))? NOT NULL", events)) - {"id"}
    assert needed <= set(recorded.inserts()["usb_device_events"])
    assert list(recorded.inserts()) == ["usb_device_events"]
