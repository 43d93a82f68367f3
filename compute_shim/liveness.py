# SPDX-License-Identifier: Apache-2.0
"""Which hosts have an agent that is up."""

from __future__ import annotations

import dataclasses
import datetime

from oslo_config import cfg
from oslo_utils import timeutils


@dataclasses.dataclass(frozen=True)
class Window:
    """When an agent must have been heard of last to be up now.

    A time in the future is from before the clock was set back, and says as little as an old one: the next
    sync tells.
    """

    begin: datetime.datetime
    end: datetime.datetime

    @classmethod
    def now(cls, conf: cfg.ConfigOpts) -> Window:
        """As ``[conductor] host_down_time`` has it."""
        now, span = timeutils.utcnow(), datetime.timedelta(seconds=conf.conductor.host_down_time)
        return cls(now - span, now + span)

    def __contains__(self, last_seen: datetime.datetime) -> bool:
        return self.begin <= last_seen <= self.end
