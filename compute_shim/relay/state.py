# SPDX-License-Identifier: Apache-2.0
"""The state of a relay, in a file for the agent."""

from __future__ import annotations

import enum
import logging
import os
from pathlib import Path

LOG = logging.getLogger(__name__)


class State(enum.StrEnum):
    """What a relay is doing. A device is attached when both of its relays are `CONNECTED`."""

    LISTENING = "listening"  #: nobody is connected
    CONNECTING = "connecting"  #: QEMU is connected, the relay of the device's host is not (server side only)
    CONNECTED = "connected"  #: connected to the other relay
    ENDED = "ended"  #: the process ends


class StateFile:
    """One ``name value`` per line: state, reason, refused, pid, mode, claim, generation, peer, port.

    It is replaced as a whole, so a reader never sees half of it. It stays when the relay ends. A relay that
    was killed leaves the state that it had, with a pid that is gone.

    :param facts: the lines that do not change.
    """

    def __init__(self, path: Path, facts: dict[str, str]) -> None:
        self._path = path
        self._facts = facts
        #: Beside it: what has passed (`compute_shim.relay.traffic`).
        self.traffic = path.with_suffix(".traffic")

    def write(self, state: State, reason: str = "", *, refused: bool = False) -> None:
        """Replace the file. If that is impossible, this is logged, and the device goes on.

        :param reason: a sentence in one line; it may be empty.
        :param refused: the other relay was reached, and one of the two has refused the other.
        """
        lines = {
            "state": state.value,
            "reason": reason,
            "refused": "yes" if refused else "no",
            "pid": str(os.getpid()),
            **self._facts,
        }
        replace(self._path, "".join(f"{name} {value}".rstrip() + "\n" for name, value in lines.items()))


def replace(path: Path, text: str) -> None:
    """Replace a file, so that a reader never sees half of it. If that is impossible, this is logged."""
    whole = path.with_name(f".{path.name}.new")
    try:
        whole.write_text(text)
        whole.replace(path)
    except OSError as error:
        LOG.error("Cannot write %s: %s", path, error.strerror)
