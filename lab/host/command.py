# SPDX-License-Identifier: Apache-2.0
"""The client of labd.py, the command server inside a lab host."""

import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence

EXIT, STDOUT, STDERR = 0, 1, 2  # the kinds of frames, see labd.py

Output = Callable[[int, bytes], object]


def run(
    port: int, argv: Sequence[str], output: Output, stdin: bytes = b"", timeout: float | None = None
) -> int:
    """Run a command in the lab host whose command server is at 127.0.0.1:`port`; return its exit code.

    The code is negative for a signal, as in subprocess. `output` is called with STDOUT or STDERR and the
    bytes, as they come. After `timeout` seconds the command is killed and subprocess.TimeoutExpired raised.
    Raises ConnectionError if the command server does not answer, or goes away.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with socket.create_connection(("127.0.0.1", port)) as connection:
        request = json.dumps({"argv": list(argv), "stdin": len(stdin)}).encode()
        connection.sendall(request + b"\n" + stdin)
        while True:
            try:
                kind, length = struct.unpack(">BI", _receive(connection, 5, deadline))
                data = _receive(connection, length, deadline)
            except TimeoutError:
                raise subprocess.TimeoutExpired(list(argv), timeout or 0) from None
            if kind == EXIT:
                return int(data)
            output(kind, data)


def until(condition: str) -> str:
    """Return bash's words for waiting until the command `condition` succeeds.

    No process is started only to pause: on an emulated processor that would take it from what is waited for.
    """
    return f"exec {{never}}<> <(:); until {condition}; do read -rt 0.1 -u $never; done; exec {{never}}<&-"


def _receive(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    data = b""
    while len(data) < size:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the command server closed the connection")
        data += part
    return data
