# SPDX-License-Identifier: Apache-2.0
"""Which hosts count as up, whatever the clock does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg

from compute_shim import liveness
from compute_shim.conf import conductor
from compute_shim.db import queries
from tests.unit.clock import clock
from tests.unit.db.test_states import HOST, empty_database

DOWN_TIME = 60

seconds = st.floats(-1e8, 1e8)


def configuration() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf.register_opts(conductor.OPTS, group=conductor.GROUP)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("host_down_time", DOWN_TIME, group=conductor.GROUP)
    return conf


@settings(max_examples=30)
@given(jumps=st.lists(seconds, max_size=3), silence=st.floats(DOWN_TIME + 1, 1e6))
def test_a_clock_that_jumps(jumps: list[float], silence: float) -> None:
    """The next sign of life makes a host count as up, and its silence as down, wherever the clock is."""
    conf, db = configuration(), empty_database()
    with clock() as time:
        for jump in (0.0, *jumps):
            time.jump(jump)
            queries.sync_host(db, HOST, "QEMU", "1.0", [])
            assert queries.hosts_up(db, liveness.Window.now(conf)) == {HOST}
        time.jump(silence)
        assert queries.hosts_up(db, liveness.Window.now(conf)) == set()


@settings(max_examples=30)
@given(back=st.floats(DOWN_TIME + 1, 1e8))
def test_a_host_that_fell_silent_before_the_clock_was_set_back(back: float) -> None:
    conf, db = configuration(), empty_database()
    with clock() as time:
        queries.sync_host(db, HOST, "QEMU", "1.0", [])
        time.jump(-back)
        assert queries.hosts_up(db, liveness.Window.now(conf)) == set()
