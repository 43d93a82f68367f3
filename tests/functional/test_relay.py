# SPDX-License-Identifier: Apache-2.0
"""The relays as the processes that they are."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute_shim.agent import relay_process
from compute_shim.relay.credentials import Credentials
from tests.functional.programs import PATIENCE
from tests.pki import Authority

_CHECKOUT = Path(__file__).parents[2]
_MEBIBYTE = 1 << 20
# As the agent starts them, as this user.
_WITHOUT_PRIVILEGES = relay_process.without_privileges(os.geteuid(), os.getegid())
# Of each relay; it has about a dozen.
_MOST_DESCRIPTORS = 40
CLAIM = ("--claim=one", "--generation=4")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of both hosts."""
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


def files(own: Credentials) -> list[str]:
    """The options that name the files of a host."""
    return [f"--{option}={file}" for option, file in dataclasses.asdict(own).items()]


class Relay:
    """A relay that runs."""

    def __init__(self, module: str, directory: Path, arguments: list[str], *descriptors: int) -> None:
        self._file = directory / f"{arguments[0]}.state"
        self._log = directory / f"{arguments[0]}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *_WITHOUT_PRIVILEGES,
                    *(sys.executable, "-m", module, *arguments, *CLAIM, f"--state={self._file}"),
                ],
                cwd=_CHECKOUT,
                pass_fds=descriptors,
                stderr=log,
            )

    def state(self) -> dict[str, str]:
        """The lines of its state file."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return {name: value for name, _, value in (line.partition(" ") for line in lines)}

    def traffic(self) -> list[int]:
        """What has passed: bytes sent, bytes received, microseconds of a round trip."""
        file = self._file.with_suffix(".traffic")
        self._wait_until(file.exists)
        return [int(number) for number in file.read_text().split()]

    def wait(self, state: str) -> None:
        """Wait until it is in a state."""
        self._wait_until(lambda: self.state().get("state") == state)

    def wait_log(self, text: str, times: int) -> None:
        """Wait until it has logged something so many times."""
        self._wait_until(lambda: self.log().count(text) == times)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.state(), self.log())
            time.sleep(0.01)

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def memory(self) -> int:
        """The bytes of memory that it has in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def processor_time(self) -> int:
        """What it has used, in clock ticks."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


@dataclasses.dataclass(frozen=True)
class Pair:
    """The relays of one claim.

    :ivar path: of the socket for QEMU.
    :ivar port: of the relay of the device's host.
    """

    device: Relay
    server: Relay
    path: str
    port: int

    @contextlib.contextmanager
    def qemu(self) -> Iterator[socket.socket]:
        """A connection to the unix socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self.path)
            yield connection
        self.server.wait("listening")
        self.device.wait("listening")


@pytest.fixture
def pair(tmp_path: Path, authority: Authority) -> Iterator[Pair]:
    """Both relays, with a played device."""
    path = str(tmp_path / "qemu.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        port = tcp.getsockname()[1]
        node = os.open("/dev/null", os.O_RDWR)
        device = Relay(
            "tests.functional.relay_here",
            tmp_path,
            [
                *("device", f"--node-fd={node}", f"--listen-fd={tcp.fileno()}", "--peer=usbhost2"),
                *files(authority.issue("usbhost1", "usbhost1")),
            ],
            *(node, tcp.fileno()),
        )
        os.close(node)
        server = Relay(
            "compute_shim.cmd.relay",
            tmp_path,
            [
                *("server", f"--connect=127.0.0.1:{port}", f"--listen-fd={unix.fileno()}", "--peer=usbhost1"),
                *files(authority.issue("usbhost2", "usbhost2")),
            ],
            unix.fileno(),
        )
    try:
        device.wait("listening")
        server.wait("listening")
        yield Pair(device, server, path, port)
    finally:
        for relay in (device, server):
            relay.process.kill()
            relay.process.wait()


def receive(connection: socket.socket, length: int) -> bytes:
    """So many bytes."""
    received = bytearray()
    while len(received) < length:
        part = connection.recv(1 << 16)
        assert part
        received += part
    return bytes(received)


def test_they_carry_a_device_until_they_are_told_to_end(pair: Pair) -> None:
    data = random.Random(3).randbytes(_MEBIBYTE)
    with pair.qemu() as connection:
        for begin in range(0, len(data), 1 << 16):
            part = data[begin : begin + (1 << 16)]
            connection.sendall(part)
            assert receive(connection, len(part)) == part
        for relay, mode, peer in ((pair.device, "device", "usbhost2"), (pair.server, "server", "usbhost1")):
            relay.wait("connected")
            state = relay.state()
            assert (state["state"], state["mode"], state["peer"]) == ("connected", mode, peer)
            assert (state["claim"], state["generation"]) == ("one", "4")
            assert (state["pid"], state["reason"]) == (str(relay.process.pid), "")
            assert min(relay.traffic()) > 0
    for relay in (pair.device, pair.server):
        assert relay.terminate() == 0
        assert (relay.state()["state"], relay.state()["reason"]) == ("ended", "it was told to end")
        assert "Traceback" not in relay.log()


def test_many_connections_leave_nothing_behind(pair: Pair) -> None:
    def use() -> None:
        with pair.qemu() as connection:
            connection.sendall(bytes(1 << 16))
            receive(connection, 1 << 16)
        with socket.create_connection(("127.0.0.1", pair.port), PATIENCE) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                stranger.recv(1)

    relays = (pair.device, pair.server)
    for _ in range(20):
        use()
    before = [relay.memory() for relay in relays]
    for relay in relays:
        resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (_MOST_DESCRIPTORS, _MOST_DESCRIPTORS))
    for _ in range(100):
        use()
    for relay, memory in zip(relays, before, strict=True):
        assert relay.memory() < memory + 2 * _MEBIBYTE
    pair.device.wait_log("Refused 127.0.0.1: TLS: http request", times=120)


def test_idle_they_use_no_processor_time_and_little_memory(pair: Pair) -> None:
    with pair.qemu() as connection:
        connection.sendall(b"hello")
        receive(connection, 5)
        relays = (pair.device, pair.server)
        for relay in relays:
            relay.wait("connected")
        before = [relay.processor_time() for relay in relays]
        time.sleep(2)
        assert [relay.processor_time() for relay in relays] == before
        # That of the device has a test around it.
        assert pair.server.memory() < 30_000_000


def test_no_other_process_of_their_user_looks_into_them(pair: Pair) -> None:
    """Relays of other devices have the same user."""
    look = [*_WITHOUT_PRIVILEGES, "cat", f"/proc/{pair.server.process.pid}/environ"]
    done = subprocess.run(look, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode != 0
    assert "Permission denied" in done.stdout


def test_their_memory_is_limited(pair: Pair) -> None:
    for relay in (pair.device, pair.server):
        limits = resource.prlimit(relay.process.pid, resource.RLIMIT_DATA)
        assert limits == (128 * _MEBIBYTE, 128 * _MEBIBYTE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--listen-fd=999", "[Errno 9] Bad file descriptor"),
        ("--listen-fd={tcp}", "file descriptor {tcp} is not a listening socket of AF_UNIX"),
        ("--cert=/none.pem", "/none.pem with {key}: No such file or directory"),
        ("--key={ca}", "{cert} with {ca}: "),
        ("--ca=/dev/null", "/dev/null: "),
        ("--claim=../one", "argument --claim: '../one' is not of the form [0-9A-Za-z-]{{1,64}}"),
        ("--generation=-1", "argument --generation: '-1' is not of the form [0-9]{{1,18}}"),
        ("--connect=usbhost1", "argument --connect: 'usbhost1' is not HOST:PORT"),
    ],
)
def test_a_mistake_is_one_line(wrong: str, said: str, tmp_path: Path, authority: Authority) -> None:
    own = authority.issue("usbhost2", "usbhost2")
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(tmp_path / "qemu.sock"))
        unix.listen()
        names = {**dataclasses.asdict(own), "tcp": tcp.fileno()}
        arguments = [
            *("server", "--connect=127.0.0.1:1", f"--listen-fd={unix.fileno()}", "--peer=usbhost1"),
            *(*files(own), *CLAIM, f"--state={tmp_path / 'state'}", wrong.format(**names)),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "compute_shim.cmd.relay", *arguments],
            cwd=_CHECKOUT,
            pass_fds=(unix.fileno(), tcp.fileno()),
            capture_output=True,
            text=True,
        )
    assert done.returncode in (1, 2)
    line = done.stderr.splitlines()[-1]
    assert line.startswith("usb-shim-relay") and said.format(**names) in line
    assert "Traceback" not in done.stderr


def test_a_node_that_is_no_usb_device_is_refused(tmp_path: Path, authority: Authority) -> None:
    with Path("/dev/null").open("r+b") as node, socket.create_server(("127.0.0.1", 0)) as tcp:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "compute_shim.cmd.relay", "device", f"--node-fd={node.fileno()}"),
                *(f"--listen-fd={tcp.fileno()}", "--peer=usbhost2", f"--state={tmp_path / 'state'}", *CLAIM),
                *files(authority.issue("usbhost1", "usbhost1")),
            ],
            cwd=_CHECKOUT,
            pass_fds=(node.fileno(), tcp.fileno()),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"usb-shim-relay: file descriptor {node.fileno()} is not the node of a USB device\n",
        )
    assert (tmp_path / "state").read_text().startswith("state ended\nreason file descriptor")
