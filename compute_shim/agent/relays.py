# SPDX-License-Identifier: Apache-2.0
"""The relays of this host: processes that connect devices with servers on other hosts (`compute_shim.relay`).

They outlive the agent. An agent that starts finds those that run by their command lines, which say what each
is for; what it is doing is in its state file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from oslo_log import log

from compute_shim.agent import files, relay_process
from compute_shim.agent.relay_process import Options
from compute_shim.objects import Device, Reason, ReasonCode
from compute_shim.relay.state import State
from compute_shim.relay.traffic import Traffic

LOG = log.getLogger(__name__)

#: Their sockets and state files. QEMU may pass through it, and no more.
RUN = Path("/run/usb-shim/relays")

# Seconds between two looks at the relays that run, and those for one to end before it is killed.
_LOOK_SECONDS = 1.0
_END_SECONDS = 10.0
# Seconds before what ended is started again; each further time doubles the pause.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
# Of a state file; its lines are some hundred.
_MOST_BYTES = 4096
# Of a file of `compute_shim.relay.traffic`.
_NUMBERS = re.compile(r"([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,10})\n")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A relay that is to run.

    :param peer: name of the other host, as in its certificate.
    :param address: of the relay of the device's host, for that of a server; None: it is one of a device.
    :param device: that it serves.
    """

    device_id: str
    generation: int
    peer: str
    address: str | None = None
    device: Device | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Running:
    """A relay that runs.

    :param wanted: what it was started for.
    :param state: what it is doing (`compute_shim.relay.state`); empty while it starts.
    :param reason: why it is not connected; it may be empty.
    :param refused: one of the two hosts has refused the other.
    :param port: where it serves its device.
    :param idle: the server's domain is to be connected anew: the relay has lost it since it was connected, or
        never had it, or cannot reach the device for a domain that has brought its connection along.
    :param ending: it was told to end.
    """

    wanted: Wanted
    pid: int
    state: str = ""
    reason: str = ""
    refused: bool = False
    port: int | None = None
    idle: bool = False
    ending: bool = False


@dataclasses.dataclass
class _Pause:
    """When a relay that ended may be started again."""

    due: float
    seconds: float


class Relays:
    """For one thread, except `watch`, `is_relay` and `traffic`.

    :param options: None: this host does not take part.
    :param clock: monotonic time in seconds.
    """

    def __init__(
        self,
        options: Options | None,
        run: Path = RUN,
        proc: Path = Path("/proc"),
        dev: Path = Path("/dev"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._run = run
        self._proc = proc
        self._dev = dev
        self._clock = clock
        self._known: dict[str, tuple[int, Wanted]] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._told_to_end: dict[int, float] = {}
        self._pauses: dict[Wanted, _Pause] = {}
        self._refusals: dict[str, Reason] = {}
        # Device id -> the state file as it was when the server's domain was connected.
        self._connected: dict[str, tuple[int, int] | None] = {}

    def adopt(self) -> None:
        """Know the relays again that an earlier agent has started."""
        self._known |= dict(self._found())
        for _, wanted in self._known.values():
            LOG.info("The relay of device %s runs on", wanted.device_id)

    def takes_part(self) -> bool:
        """Whether this host takes part in the network transport."""
        return self._options is not None

    def is_relay(self, pid: int) -> bool:
        """Whether a process is a relay of ours. Thread-safe."""
        return any(known == pid for known, _ in tuple(self._known.values()))

    def socket(self, device_id: str) -> str:
        """The unix socket to which QEMU connects for a device."""
        return str(self._run / f"{device_id}.sock")

    def connected(self, device_id: str) -> None:
        """The server's domain was connected to the relay."""
        self._connected[device_id] = _stamp(self._state_file(device_id))

    def refusals(self) -> dict[str, Reason]:
        """Device id -> why its relay does not run."""
        return dict(self._refusals)

    # What there is

    def observe(self) -> dict[str, Running]:
        """The relays that run, by the id of the device."""
        found = {}
        for device_id, (pid, wanted) in tuple(self._known.items()):
            if self._runs(pid, wanted):
                found[device_id] = self._describe(pid, wanted)
                if found[device_id].state == State.CONNECTED:
                    self._pauses.pop(wanted, None)
            else:
                self._forget(device_id, pid, wanted)
        return found

    def _describe(self, pid: int, wanted: Wanted) -> Running:
        file = self._state_file(wanted.device_id)
        stamp, said = _stamp(file), _read(file)
        if said.get("pid") != str(pid):
            return Running(wanted, pid, ending=pid in self._told_to_end)
        state, port = said.get("state", ""), said.get("port", "")
        reason = said.get("reason", "")
        return Running(
            wanted,
            pid,
            state,
            reason,
            said.get("refused") == "yes",
            int(port) if port.isdecimal() else None,
            idle=self._is_idle(wanted.device_id, state, reason, stamp),
            ending=pid in self._told_to_end,
        )

    def _is_idle(self, device_id: str, state: str, reason: str, stamp: tuple[int, int] | None) -> bool:
        if state == State.LISTENING:
            return stamp != self._connected.get(device_id)
        # QEMU has connected by itself: a guest that was saved with the device is shown it until QEMU is
        # disconnected.
        return state == State.CONNECTING and reason != "" and device_id not in self._connected

    def _runs(self, pid: int, wanted: Wanted) -> bool:
        child = self._children.get(pid)
        if child is not None:
            return child.poll() is None
        # Of another agent's, the number may be another process's by now.
        return _of_command(self._command(pid)) == wanted

    def _forget(self, device_id: str, pid: int, wanted: Wanted) -> None:
        """A relay has ended."""
        self._known.pop(device_id)
        self._children.pop(pid, None)
        if self._told_to_end.pop(pid, None) is None:
            said = _read(self._state_file(device_id))
            has_ended = (said.get("pid"), said.get("state")) == (str(pid), State.ENDED)
            why = said.get("reason", "") if has_ended else "its process was killed, or could not be started"
            LOG.warning("The relay of device %s has ended: %s", device_id, why)
            self._refuse(wanted, Reason(ReasonCode.CHANNEL_FAILED, f"the relay has ended: {why}"))

    def _found(self) -> Iterator[tuple[str, tuple[int, Wanted]]]:
        """The relays that an earlier agent has started."""
        for path in self._proc.iterdir():
            if path.name.isdecimal():
                wanted = _of_command(self._command(int(path.name)))
                if wanted is not None:
                    yield wanted.device_id, (int(path.name), wanted)

    def _command(self, pid: int) -> list[str]:
        """The command line of a relay of ours; empty for another process, and for one that has ended."""
        try:
            words = files.contents(f"{self._proc}/{pid}/cmdline").decode("utf-8", "replace").split("\0")
        except OSError:
            return []
        state = next((word.removeprefix("--state=") for word in words if word.startswith("--state=")), "")
        return words if relay_process.MODULE in words and Path(state).parent == self._run else []

    def _state_file(self, device_id: str) -> Path:
        return self._run / f"{device_id}.state"

    def traffic(self) -> dict[str, Traffic]:
        """What has passed through each relay that is connected, by the id of the device. Thread-safe."""
        found = {}
        for device_id in tuple(self._known):
            file = self._state_file(device_id)
            if _text(file).startswith(f"state {State.CONNECTED}\n"):
                numbers = _NUMBERS.fullmatch(_text(file.with_suffix(".traffic")))
                if numbers is not None:
                    found[device_id] = Traffic(*map(int, numbers.groups()))
        return found

    # What is to be

    def want(self, wanted: Collection[Wanted]) -> None:
        """Have these relays run, and no others. One that has to end is given time, and is there meanwhile."""
        by_id = {one.device_id: one for one in wanted}
        self._pauses = {one: pause for one, pause in self._pauses.items() if by_id.get(one.device_id) == one}
        self._refusals = {device_id: why for device_id, why in self._refusals.items() if device_id in by_id}
        for device_id, (pid, now) in tuple(self._known.items()):
            if by_id.get(device_id) != now:
                self._end(pid, device_id)
        for device_id, one in by_id.items():
            pause = self._pauses.get(one)
            if device_id not in self._known and (pause is None or self._clock() >= pause.due):
                self._try(one)

    def _try(self, wanted: Wanted) -> None:
        try:
            self._start(wanted)
        except _Refused as refused:
            self._refuse(wanted, refused.reason)
        except OSError as error:
            LOG.warning("Cannot start the relay of device %s: %s", wanted.device_id, error)
            self._refuse(wanted, Reason(ReasonCode.CHANNEL_FAILED, f"the relay cannot be started: {error}"))
        else:
            self._refusals.pop(wanted.device_id, None)

    def _refuse(self, wanted: Wanted, reason: Reason) -> None:
        last = self._pauses.get(wanted)
        seconds = _FIRST_PAUSE if last is None else min(2 * last.seconds, _LONGEST_PAUSE)
        self._pauses[wanted] = _Pause(self._clock() + seconds, seconds)
        self._refusals[wanted.device_id] = reason

    def _end(self, pid: int, device_id: str) -> None:
        told = self._told_to_end.get(pid)
        if told is None:
            self._told_to_end[pid] = self._clock()
            LOG.info("Ending the relay of device %s", device_id)
        overdue = told is not None and self._clock() - told >= _END_SECONDS
        if told is None or overdue:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if overdue else signal.SIGTERM)

    def _start(self, wanted: Wanted) -> None:
        options = self._options
        if options is None:
            raise _Refused(ReasonCode.NO_NETWORK_TRANSPORT)
        if len(self._known) >= options.most:
            raise _Refused(ReasonCode.CHANNEL_LIMIT)
        uid, gid = relay_process.ids(options.user)
        self._prepare(gid)
        with contextlib.ExitStack() as opened:
            if wanted.device is not None:
                listening = opened.enter_context(_tcp_socket(options.ports))
                device = wanted.device
                node = os.open(self._dev / f"bus/usb/{device.bus:03}/{device.device:03}", os.O_RDWR)
                opened.callback(os.close, node)
                descriptors = {"node-fd": node, "listen-fd": listening.fileno()}
            else:
                listening = opened.enter_context(_unix_socket(self.socket(wanted.device_id)))
                descriptors = {"listen-fd": listening.fileno()}
            self._state_file(wanted.device_id).unlink(missing_ok=True)
            self._connected.pop(wanted.device_id, None)
            process = subprocess.Popen(
                relay_process.command(
                    _arguments(wanted, options, descriptors, self._state_file(wanted.device_id)), uid, gid
                ),
                pass_fds=tuple(descriptors.values()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=relay_process.environment(),
            )
        self._children[process.pid] = process
        self._known[wanted.device_id] = (process.pid, wanted)
        LOG.info("Started the relay of device %s; the other host is %s", wanted.device_id, wanted.peer)

    def _prepare(self, gid: int) -> None:
        """Make the directory, in which the relays write, and in which nobody else may look."""
        self._run.mkdir(mode=0o771, parents=True, exist_ok=True)
        made = self._run.stat()
        if made.st_gid != gid or stat.S_IMODE(made.st_mode) != 0o771:
            os.chown(self._run, -1, gid)
            self._run.chmod(0o771)

    # Watching

    def watch(self, on_change: Callable[[], None], stopping: threading.Event) -> None:
        """Report each change of a relay, until ``stopping`` is set. In a thread of its own."""
        before: Mapping[str, object] = {}
        while not stopping.wait(_LOOK_SECONDS):
            # Also what is due: a relay to be killed, or started again.
            due = any(
                self._clock() >= pause.due
                for wanted, pause in tuple(self._pauses.items())
                if wanted.device_id not in self._known
            )
            overdue = any(self._clock() - told >= _END_SECONDS for told in tuple(self._told_to_end.values()))
            now = {
                device_id: (pid, bool(self._command(pid)), _stamp(self._state_file(device_id)))
                for device_id, (pid, _) in tuple(self._known.items())
            }
            if now != before or due or overdue:
                on_change()
            before = now


class _Refused(Exception):
    """A relay may not be started."""

    def __init__(self, code: ReasonCode) -> None:
        self.reason = Reason(code)
        super().__init__(code)


def _arguments(wanted: Wanted, options: Options, descriptors: Mapping[str, int], state: Path) -> list[str]:
    """The arguments of a relay, which `_of_command` reads."""
    values: dict[str, object] = {**descriptors, "peer": wanted.peer, "claim": wanted.device_id}
    if wanted.address is not None:
        values["connect"] = wanted.address
    values |= {"generation": wanted.generation, "state": state}
    values |= options.files
    mode = "device" if wanted.address is None else "server"
    return [mode, *(f"--{name}={value}" for name, value in values.items())]


def _of_command(words: Iterable[str]) -> Wanted | None:
    """What a relay was started for, None for the command line of another process."""
    values = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    if not {"claim", "generation", "peer"} <= values.keys() or not values["generation"].isdecimal():
        return None
    return Wanted(values["claim"], int(values["generation"]), values["peer"], values.get("connect"))


def _tcp_socket(ports: tuple[int, int]) -> socket.socket:
    """A listening socket on the first free port.

    :raises _Refused: none is free
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for port in range(ports[0], ports[1] + 1):
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    raise _Refused(ReasonCode.CHANNEL_LIMIT)


def _unix_socket(path: str) -> socket.socket:
    """A listening socket that root alone may use; the driver gives it to the domain."""
    Path(path).unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX)
    try:
        # fchmod(2) before bind(2): nobody can connect in between.
        os.fchmod(found.fileno(), 0o600)
        found.bind(path)
        found.listen()
    except OSError:
        found.close()
        raise
    return found


def _stamp(file: Path) -> tuple[int, int] | None:
    """Another one when the file, which is replaced, is another one."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(file: Path) -> dict[str, str]:
    """The lines of a state file."""
    return {name: value for name, _, value in (line.partition(" ") for line in _text(file).splitlines())}


def _text(file: Path) -> str:
    """What is in a file of a relay. One that was taken over may have put anything there."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, _MOST_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
