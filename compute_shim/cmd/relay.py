# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-relay``: one end of the connection that carries a USB device to a server on another host.

It needs neither root nor a capability: it inherits what it works with as open file descriptors, and reads its
certificates. It needs only Python's standard library, and on the device's host libusbredirhost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import os
import re
import resource
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from compute_shim import usbfs
from compute_shim.relay import greeting, usbredir
from compute_shim.relay.credentials import Credentials
from compute_shim.relay.device import DeviceRelay
from compute_shim.relay.server import ServerRelay
from compute_shim.relay.state import State, StateFile
from compute_shim.relay.usbredir import DeviceError

_NAME = "usb-shim-relay"
# What a peer can make it allocate: libusbredirhost accepts packets of 128 MiB.
_MOST_MEMORY = 128 << 20
_PR_SET_DUMPABLE = 4  # Linux, include/uapi/linux/prctl.h


def main() -> NoReturn:
    """Relay until SIGTERM or SIGINT, or until the device is gone."""
    arguments = _parser().parse_args()
    _keep_to_itself()
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    if arguments.mode == "check":
        for problem in _missing(arguments):
            print(problem)
        raise SystemExit
    logging.basicConfig(format=f"%(asctime)s {_NAME}: %(message)s", level=logging.INFO)
    facts = {
        "mode": arguments.mode,
        "claim": arguments.claim,
        "generation": str(arguments.generation),
        "peer": arguments.peer,
    }
    if arguments.mode == "device":
        facts["port"] = str(_port(arguments.listen_fd))
    state = StateFile(arguments.state, facts)
    # What is there now stays; `connection.free_memory` need not look at it.
    gc.freeze()
    try:
        relay = _relay(arguments, state)
        reason = asyncio.run(_run(relay))
    except (OSError, DeviceError, ValueError) as error:
        state.write(State.ENDED, str(error))
        raise SystemExit(f"{_NAME}: {error}") from None
    state.write(State.ENDED, reason)
    logging.info("Ended: %s", reason)
    raise SystemExit


def _keep_to_itself() -> None:
    """Let no other process of this user, such as another relay, look into this one (prctl(2))."""
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise SystemExit(f"{_NAME}: PR_SET_DUMPABLE failed")


def _missing(arguments: argparse.Namespace) -> list[str]:
    """What it needs and does not have, a line each."""
    found = []
    for file in (arguments.cert, arguments.key, arguments.ca):
        try:
            Path(file).read_bytes()
        except OSError as error:
            found.append(f"{file} cannot be read: {error.strerror}")
    try:
        usbredir.Libraries()
    except DeviceError as error:
        found.append(f"a device of this host cannot be used elsewhere: {error}")
    return found


async def _run(relay: DeviceRelay | ServerRelay) -> str:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await relay.run()
    except asyncio.CancelledError:
        return "it was told to end"


def _relay(arguments: argparse.Namespace, state: StateFile) -> DeviceRelay | ServerRelay:
    claim = greeting.Claim(arguments.claim, arguments.generation)
    own = Credentials(arguments.cert, arguments.key, arguments.ca)
    # What is wrong with the files is said now, not at the first connection.
    own.client_context()
    if arguments.mode == "server":
        listening = _listening(arguments.listen_fd, socket.AF_UNIX)
        return ServerRelay(listening, arguments.connect, arguments.peer, claim, own, state)
    listening = _listening(arguments.listen_fd, socket.AF_INET, socket.AF_INET6)
    node = os.fstat(arguments.node_fd)
    if not stat.S_ISCHR(node.st_mode) or os.major(node.st_rdev) != usbfs.MAJOR:
        raise ValueError(f"file descriptor {arguments.node_fd} is not the node of a USB device")
    hold = functools.partial(usbredir.Redirection, usbredir.Libraries(), arguments.node_fd)
    return DeviceRelay(hold, listening, arguments.peer, claim, own, state)


def _port(descriptor: int) -> int | str:
    """The TCP port of a listening socket; ``_listening`` checks that it is one."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
        return found.getsockname()[1] if found.family != socket.AF_UNIX else ""
    return ""


def _listening(descriptor: int, *families: socket.AddressFamily) -> socket.socket:
    found = socket.socket(fileno=descriptor)
    if found.family not in families or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        wanted = " or ".join(family.name for family in families)
        raise ValueError(f"file descriptor {descriptor} is not a listening socket of {wanted}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_NAME, description="Carries a USB device to another host.")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")
    device = modes.add_parser("device", help="on the device's host")
    device.add_argument("--node-fd", type=int, required=True, help="node of the device, read and write")
    server = modes.add_parser("server", help="on the server's host")
    server.add_argument(
        "--connect", type=_address, required=True, metavar="HOST:PORT", help="the relay of the device's host"
    )
    check = modes.add_parser("check", help="print what it needs and does not have, and exit")
    for mode in (device, server):
        mode.add_argument("--listen-fd", type=int, required=True, help="listening socket, TCP or unix")
        mode.add_argument("--peer", required=True, help="name of the other host, as in its certificate")
        mode.add_argument("--claim", type=_matching(greeting.CLAIM), required=True, help="id of the claim")
        mode.add_argument(
            "--generation", type=lambda text: int(_matching(greeting.GENERATION)(text)), required=True
        )
        mode.add_argument("--state", type=Path, required=True, help="file that always has the relay's state")
    for mode in (device, server, check):
        for file in ("cert", "key", "ca"):
            mode.add_argument(f"--{file}", required=True, metavar="PEM-FILE")
    return parser


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {pattern.pattern}")
        return text

    return check


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


if __name__ == "__main__":
    main()
