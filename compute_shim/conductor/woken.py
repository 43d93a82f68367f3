# SPDX-License-Identifier: Apache-2.0
"""Loops of the conductor that work when they are woken, and periodically."""

from __future__ import annotations

import threading
from collections.abc import Callable

from oslo_db import exception as db_exception
from oslo_log import log
from sqlalchemy import exc as sqlalchemy_exception

LOG = log.getLogger(__name__)


def run(woken: threading.Event, work: Callable[[], None], interval: float, what: str) -> None:
    """Work forever; an error ends one attempt only.

    :param interval: the longest time between two attempts, in seconds.
    :param what: cannot be done if an attempt fails, for the log.
    """
    while True:
        woken.wait(interval)
        woken.clear()
        try:
            work()
        except (db_exception.DBError, sqlalchemy_exception.SQLAlchemyError) as error:
            LOG.warning("Cannot %s: %s", what, error)
        except Exception:
            LOG.exception("Cannot %s; next try in %s s", what, interval)
