# SPDX-License-Identifier: Apache-2.0
"""When an action that the hypervisor refused is tried again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping

from compute_shim.agent.planner import Attach, Detach
from compute_shim.objects import Reason, ReasonCode

# Seconds before what was refused is tried again.
_FIRST_PAUSE_SECONDS = 5
# Each further refusal doubles the pause: with each try at a device that it cannot use, QEMU 7.2 leaves a file
# open, and it has only so many.
_LONGEST_PAUSE_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """Why an action was refused, the time at which it is due again, and the seconds between the two."""

    action: Attach | Detach
    reason: Reason
    due: float
    pause: float


class Backoff:
    """The last refusal of each device.

    :param clock: seconds from any start on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals: dict[str, _Refusal] = {}

    def record(self, actions: Collection[Attach | Detach], refusals: Mapping[str, Reason]) -> None:
        """Note what became of actions that were tried.

        :param refusals: device id -> why; what is not there was done.
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

    def due(self, action: Attach | Detach) -> bool:
        """Whether to try an action now. A refused attach makes events of its own, so not at each event."""
        refusal = self._refusals.get(action.device_id)
        if refusal is None or refusal.action != action or refusal.reason.code == ReasonCode.SERVER_BUSY:
            return True
        return self._clock() >= refusal.due

    def forget(self, device_id: str) -> None:
        """Forget the refusal of a device: its claim has changed."""
        self._refusals.pop(device_id, None)

    def retry(self, server_id: str) -> None:
        """Make what a server refused due at once: the server has changed."""
        for device_id, refusal in self._refusals.items():
            if refusal.action.server_id == server_id:
                self._refusals[device_id] = dataclasses.replace(refusal, due=0.0, pause=0.0)

    def reasons(self) -> dict[str, Reason]:
        """Device id -> why the last action on it was refused."""
        return {device_id: refusal.reason for device_id, refusal in self._refusals.items()}

    def waits_for_server(self) -> bool:
        """Whether something was refused because its server is being migrated or saved."""
        return any(reason.code == ReasonCode.SERVER_BUSY for reason in self.reasons().values())
