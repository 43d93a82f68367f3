# SPDX-License-Identifier: Apache-2.0
"""Who says of which kind a device is, and which kinds there are."""

from __future__ import annotations

import dataclasses

import pytest

from compute_shim.db import device_list, history, intent, kinds, models, queries
from compute_shim.db.api import Database
from compute_shim.db.events import Actor
from compute_shim.objects import ReasonCode
from tests.unit.db.test_absence import window
from tests.unit.db.test_states import HOST, SERVERS, STICK, empty_database


class Stick:
    """A stick, of which a rule and an operator say of which kind it is."""

    def __init__(self) -> None:
        self.db: Database = empty_database()

    def rule(self, kind: str | None) -> str | None:
        queries.sync_host(self.db, HOST, "QEMU", "1.3", [dataclasses.replace(STICK, kind=kind)])
        return self.row.kind

    def operator(self, kind: str | None) -> str | None:
        queries.set_device(self.db, self.row.id, Actor("operator", "req-1"), kind=kind)
        return self.row.kind

    @property
    def row(self) -> models.Device:
        [row] = queries.devices(self.db)
        return row

    def changes(self) -> list[str | None]:
        """What the history says of its kinds, the latest last."""
        found = history.page(self.db, history.Filter(oldest_first=True))
        return [event.state_reason for event in found if event.cause_code == ReasonCode.KIND_CHANGED]


def test_what_the_rule_says_is_followed() -> None:
    stick = Stick()
    assert [stick.rule(kind) for kind in ("dongle", "disk", "")] == ["dongle", "disk", None]


def test_an_agent_that_knows_no_kinds_changes_none() -> None:
    stick = Stick()
    assert [stick.rule(kind) for kind in ("dongle", None)] == ["dongle", "dongle"]


def test_what_an_operator_says_stands_until_it_is_reset() -> None:
    stick = Stick()
    stick.rule("dongle")
    assert stick.operator("disk") == "disk"
    assert stick.rule("printer") == "disk"
    assert stick.operator("") is None
    assert stick.rule("scanner") is None
    assert stick.operator(None) == "scanner"
    assert stick.rule("dongle") == "dongle"


def test_the_history_says_what_an_operator_changed() -> None:
    stick = Stick()
    stick.rule("dongle")
    for kind in ("disk", "disk", "", None):
        stick.operator(kind)
    assert stick.changes() == [
        'kind "dongle" -> "disk"',
        'kind "disk" -> ""',
        'kind "" -> "dongle"',
    ]
    event = history.page(stick.db, history.Filter())[0]
    assert (event.user_id, event.request_id) == ("operator", "req-1")


@pytest.mark.parametrize(
    ("project_id", "found"),
    [
        (None, {"dongle": {HOST: 2, "compute2": 1}, "disk": {}, "printer": {"compute2": 1}}),
        ("demo", {"dongle": {HOST: 2, "compute2": 1}, "disk": {}}),
        ("other", {"dongle": {HOST: 2, "compute2": 1}, "disk": {}}),
    ],
)
def test_which_kinds_there_are_and_where_they_are_free(
    project_id: str | None, found: dict[str, dict[str, int]]
) -> None:
    """Another project's device of a kind shows that there is the kind; what is not shared does not."""
    db = empty_database()

    def plugged(host: str, **of_kind: str) -> None:
        sticks = [
            dataclasses.replace(STICK, identity=serial, serial=serial, kind=kind, shared=kind != "printer")
            for serial, kind in of_kind.items()
        ]
        queries.sync_host(db, host, "QEMU", "1.3", sticks)

    plugged(HOST, A="dongle", B="dongle", C="disk", D="")
    plugged("compute2", E="dongle", F="printer")
    [disk] = queries.devices(db, models.Device.kind == "disk")
    assert intent.claim(db, disk.id, SERVERS[0], "demo")
    assert kinds.free(db, device_list.Filter(project_id, window())) == found


def test_on_a_host_that_is_down_nothing_is_free() -> None:
    stick = Stick()
    stick.rule("dongle")
    assert kinds.free(stick.db, device_list.Filter("demo", window(-60))) == {"dongle": {}}
