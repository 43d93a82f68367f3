# SPDX-License-Identifier: Apache-2.0
"""The command server inside a lab host: runs one command per connection.

The client sends one line of JSON, `{"argv": [...], "stdin": number of bytes}`, and those bytes. The server
sends frames: one byte of kind, four bytes of length (big-endian), the content. Kinds 1 and 2 carry what the
command writes to its standard output and error, as it writes it; kind 0 carries the exit code in decimal and
is the last. A client that closes the connection kills the command.

Started by init.sh with `-I -S`: the standard library only.
"""

import json
import os
import selectors
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile

EXIT, STDOUT, STDERR = 0, 1, 2
CHUNK = 65536


class Handler(socketserver.StreamRequestHandler):
    """One connection, one command."""

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        request = json.loads(line)
        with tempfile.TemporaryFile() as stdin:
            stdin.write(self.rfile.read(request["stdin"]))
            stdin.seek(0)
            try:
                process = subprocess.Popen(
                    request["argv"],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                self.send(STDERR, f"{request['argv'][0]}: {error.strerror}\n".encode())
                self.send(EXIT, b"127")
                return
        try:
            code = self.relay(process)
        except OSError:  # the client is gone
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        self.send(EXIT, str(code).encode())

    def relay(self, process: subprocess.Popen[bytes]) -> int:
        """Send what the process writes until it ends, and return its exit code.

        Its end counts, not the end of its pipes: a daemon that it leaves behind may hold them open.
        Raises OSError when the client is gone.
        """
        assert process.stdout is not None and process.stderr is not None
        pipes = {process.stdout.fileno(): STDOUT, process.stderr.fileno(): STDERR}
        ended = os.pidfd_open(process.pid)
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            for fd in (*pipes, ended, self.connection.fileno()):
                selector.register(fd, selectors.EVENT_READ)
            running = True
            while running:
                for key, _ in selector.select():
                    if key.fd == self.connection.fileno():
                        raise BrokenPipeError
                    if key.fd == ended:
                        running = False
                    elif data := os.read(key.fd, CHUNK):
                        self.send(pipes[key.fd], data)
                    else:
                        selector.unregister(key.fd)
            os.close(ended)
            for fd, kind in pipes.items():
                os.set_blocking(fd, False)
                self.drain(fd, kind)
        return process.wait()

    def drain(self, fd: int, kind: int) -> None:
        """Send what is still in a pipe."""
        try:
            while data := os.read(fd, CHUNK):
                self.send(kind, data)
        except BlockingIOError:
            return

    def send(self, kind: int, data: bytes) -> None:
        """Send one frame."""
        self.connection.sendall(struct.pack(">BI", kind, len(data)) + data)


class Server(socketserver.ThreadingTCPServer):
    """The server: a thread per connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    address_family = socket.AF_INET


if __name__ == "__main__":
    Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
