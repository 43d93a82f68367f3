# SPDX-License-Identifier: Apache-2.0
"""Limits on devices."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from compute_shim.db import models, usage
from compute_shim.db.usage import DEVICES, Caps
from tests.unit.db.test_states import empty_database


@pytest.mark.parametrize(
    ("caps", "limited"),
    [
        (Caps(), False),
        (Caps({DEVICES: -1}), False),
        (Caps({DEVICES: 0}), True),
        (Caps({DEVICES: -1, f"{DEVICES}:dongle": 3}), True),
        (Caps(server=0), True),
        (Caps({DEVICES: 5}, server=2), True),
    ],
    ids=str,
)
def test_the_claims_of_a_project_come_one_after_the_other_where_there_is_a_limit(
    caps: Caps, limited: bool
) -> None:
    """Of claims at once, each must count those before it (`compute_shim.db.intent.take`)."""
    assert bool(caps) is limited


def test_each_claim_of_a_project_writes_its_row() -> None:
    db = empty_database()
    for project_id in ("a", "b", "a"):
        with db.writer() as session:
            usage.lock(session, project_id)
    with db.reader() as session:
        rows = session.execute(sa.select(models.Project.project_id, models.Project.claims)).all()
    assert dict(row._tuple() for row in rows) == {"a": 2, "b": 1}
