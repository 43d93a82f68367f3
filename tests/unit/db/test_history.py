# SPDX-License-Identifier: Apache-2.0
"""Which events a page of the history has (see tests/functional/test_history.py)."""

from __future__ import annotations

import datetime

import pytest
import sqlalchemy as sa

from compute_shim.db import history, models
from compute_shim.db.api import Database
from compute_shim.db.history import Filter
from tests.unit.db.test_states import empty_database

NOON = datetime.datetime(2026, 1, 1, 12)
SECOND = datetime.timedelta(seconds=1)


def event(number: int, **values: object) -> models.Event:
    """One of these, a second after the other."""
    known = {
        "id": number,
        "event_id": f"event-{number}",
        "device_id": "device",
        "cause": "requested",
        "state": "attached",
        "created_at": NOON + number * SECOND,
    }
    return models.Event(**known | values)


def database(*events: models.Event) -> Database:
    db = empty_database()
    with db.writer() as session:
        session.add_all(events)
    return db


FIVE = [
    {"device_id": "one", "instance_uuid": "s1", "project_id": "p"},
    {"device_id": "two", "instance_uuid": "s1", "project_id": "p"},
    {"device_id": "one", "instance_uuid": "s2", "project_id": "q"},
    {"device_id": "one"},
    {"device_id": "two", "instance_uuid": "s2", "project_id": "p"},
]


@pytest.mark.parametrize(
    ("wanted", "marker", "limit", "found"),
    [
        (Filter(), None, None, [5, 4, 3, 2, 1]),
        (Filter(oldest_first=True), None, None, [1, 2, 3, 4, 5]),
        (Filter(), None, 2, [5, 4]),
        (Filter(), 4, 2, [3, 2]),
        (Filter(), 1, 2, []),
        (Filter(oldest_first=True), 2, 2, [3, 4]),
        (Filter(device_id="one"), None, None, [4, 3, 1]),
        (Filter(server_id="s2"), None, None, [5, 3]),
        (Filter(project_id="p"), None, None, [5, 2, 1]),
        (Filter(project_id="p", device_id="two", server_id="s1"), None, None, [2]),
        (Filter(since=NOON + 3 * SECOND), None, None, [5, 4, 3]),
        (Filter(since=NOON + 9 * SECOND), None, None, []),
    ],
)
def test_which_events_a_page_has(
    wanted: Filter, marker: int | None, limit: int | None, found: list[int]
) -> None:
    db = database(*(event(number, **values) for number, values in enumerate(FIVE, 1)))
    assert [row.id for row in history.page(db, wanted, marker, limit)] == found


def test_the_place_of_an_event() -> None:
    """One of before the upgrade has no id but its place; that of another event is nobody's business."""
    db = database(event(1, event_id=sa.null()), event(2), event(3))
    assert [history.place(db, name) for name in ("event-2", "event-3", "1")] == [2, 3, 1]
    assert [history.place(db, name) for name in ("2", "4", "event-1", "")] == [None] * 4
