# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol (docs/interop/qmp-spec in QEMU): one JSON object a line."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from lab.host.errors import HostError

TIMEOUT = 30.0  # seconds that QEMU may take to answer one command


class Qmp:
    """A conversation with one QEMU. QEMU holds one at a time: others wait until it is closed."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self._stream = stream
        self._answer()  # the greeting
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Run one command and return what it returns. Raises HostError with QEMU's own words."""
        request = {"execute": command, "arguments": arguments}
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        while True:
            answer = self._answer()
            if "error" in answer:
                raise HostError(f"QEMU refuses {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _answer(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise HostError("QEMU closed the connection: the lab host has just ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def connect(path: Path) -> Iterator[Qmp]:
    """Open the QMP socket at `path` and close it afterwards. Raises HostError if nobody answers there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                yield Qmp(stream)
        except OSError as error:
            raise HostError(f"no answer from QEMU at {path}: {error}") from error
