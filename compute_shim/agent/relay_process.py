# SPDX-License-Identifier: Apache-2.0
"""How a relay (`compute_shim.cmd.relay`) is run: as whom, by which command, in which environment."""

from __future__ import annotations

import dataclasses
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg

from compute_shim.conf import network_usb

MODULE = "compute_shim.cmd.relay"


@dataclasses.dataclass(frozen=True)
class Options:
    """``[network_usb]``, as far as relays need it.

    :param user: as whom they run, None: as the agent.
    """

    cert: str
    key: str
    ca: str
    ports: tuple[int, int]
    most: int
    user: str | None

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> Options | None:
        """The options, None if this host does not take part."""
        if not network_usb.is_set(conf):
            return None
        group = conf.network_usb
        return cls(
            group.cert, group.key, group.ca, network_usb.ports(conf), group.max_connections, group.user
        )

    @property
    def files(self) -> dict[str, str]:
        """Argument of a relay -> the file that it reads."""
        return {"cert": self.cert, "key": self.key, "ca": self.ca}


def ids(user: str | None) -> tuple[int, int]:
    """User and group of relays; those of an agent without privileges, which cannot change them.

    :raises OSError: there is no such user
    """
    if user is None or os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise OSError(f"[network_usb] user: there is no user {user!r}; create it, or set another") from None
    return entry.pw_uid, entry.pw_gid


def command(arguments: Sequence[str], uid: int, gid: int) -> list[str]:
    """The command line that runs a relay as that user."""
    return [*without_privileges(uid, gid), sys.executable, "-m", MODULE, *arguments]


def environment() -> dict[str, str]:
    """The environment of a relay, in which it finds this package wherever the agent has found it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def without_privileges(uid: int, gid: int) -> list[str]:
    """The command that drops the agent's privileges (setpriv(1)); none for an agent that has none."""
    if os.geteuid() != 0:
        return []
    identity = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    return ["setpriv", *identity, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
