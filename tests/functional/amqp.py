# SPDX-License-Identifier: Apache-2.0
"""A message bus that lets nobody in."""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import ClassVar

# AMQP 0-9-1, sections 2.3.5 (frames: type, channel, size) and 1.4 (class "connection" and its methods).
_METHOD_FRAME, _FRAME_END = 1, b"\xce"
_CONNECTION, _START, _CLOSE = 10, 10, 50


class _Refusal(socketserver.StreamRequestHandler):
    reply: ClassVar[tuple[int, bytes]]

    def handle(self) -> None:
        self.rfile.read(len(b"AMQP\0\0\x09\x01"))
        no_properties = struct.pack(">I", 0)
        self._send(_START, bytes([0, 9]) + no_properties + _long(b"PLAIN AMQPLAIN") + _long(b"en_US"))
        self._read()  # start-ok
        if self.reply[0] == 530:  # said to connection.open only
            self._send(30, struct.pack(">HIH", 0, 131072, 0))  # tune
            self._read()  # tune-ok
            self._read()  # open
        code, text = self.reply
        self._send(_CLOSE, struct.pack(">HB", code, len(text)) + text + struct.pack(">HH", 0, 0))
        self._read()  # close-ok

    def _send(self, method: int, arguments: bytes) -> None:
        payload = struct.pack(">HH", _CONNECTION, method) + arguments
        header = struct.pack(">BHI", _METHOD_FRAME, 0, len(payload))
        self.wfile.write(header + payload + _FRAME_END)

    def _read(self) -> None:
        _kind, _channel, size = struct.unpack(">BHI", self.rfile.read(7))
        self.rfile.read(size + len(_FRAME_END))


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


@contextlib.contextmanager
def refusing(code: int, text: str) -> Iterator[str]:
    """While this lasts, a bus answers there (HOST:PORT) as RabbitMQ does to one whom it does not let in.

    :param code: 403 for a wrong password, 530 for an unknown virtual host.
    """
    handler = type("Refusal", (_Refusal,), {"reply": (code, text.encode())})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
