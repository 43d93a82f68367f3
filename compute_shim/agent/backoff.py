# SPDX-License-Identifier: Apache-2.0
"""Back-off for actions that the hypervisor refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping

from compute_shim.agent.planner import Action
from compute_shim.objects import Reason, ReasonCode

# Seconds before what was refused is tried again.
_FIRST_PAUSE_SECONDS = 5
# Each further refusal doubles the pause: with each try at a device that it cannot use, QEMU 7.2 leaves a file
# open, and it has only so many.
_LONGEST_PAUSE_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """The reason for a refusal, the time of the next attempt, and the interval in seconds."""

    action: Action
    reason: Reason
    due: float
    pause: float


class Backoff:
    """The last refusal of each device.

    :param clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals: dict[str, _Refusal] = {}

    def record(self, actions: Collection[Action], refusals: Mapping[str, Reason]) -> None:
        """Record the results of actions.

        :param refusals: device id -> reason; all other actions succeeded.
        """
        before = dict(self._refusals)
        for action in actions:
            self._refusals.pop(action.device_id, None)
        for action in actions:
            reason = refusals.get(action.device_id)
            if reason is not None:
                last = before.get(action.device_id)
                pause = 2 * last.pause if last and last.action == action else 0.0
                pause = min(max(_FIRST_PAUSE_SECONDS, pause), _LONGEST_PAUSE_SECONDS)
                self._refusals[action.device_id] = _Refusal(action, reason, self._clock() + pause, pause)

    def due(self, action: Action) -> bool:
        """Whether to try an action now. Not at each event, because a refused attach causes events."""
        refusal = self._refusals.get(action.device_id)
        if refusal is None or refusal.action != action or refusal.reason.code == ReasonCode.SERVER_BUSY:
            return True
        return self._clock() >= refusal.due

    def forget(self, device_id: str) -> None:
        """Discard the refusal of a device, because its claim has changed."""
        self._refusals.pop(device_id, None)

    def retry(self, server_id: str) -> None:
        """Make the refused actions of a server due immediately, because the server has changed."""
        for device_id, refusal in self._refusals.items():
            if refusal.action.server_id == server_id:
                self._refusals[device_id] = dataclasses.replace(refusal, due=0.0, pause=0.0)

    def reasons(self) -> dict[str, Reason]:
        """Device id -> reason why the last action was refused."""
        return {device_id: refusal.reason for device_id, refusal in self._refusals.items()}

    def waits_for_server(self) -> bool:
        """Whether an action was refused because its server is being migrated or saved."""
        return any(reason.code == ReasonCode.SERVER_BUSY for reason in self.reasons().values())
