# SPDX-License-Identifier: Apache-2.0
"""A lab host: start, stop, run commands in it, plug and unplug its USB devices."""

import json
import os
import re
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.host import command, emulator, kernel, qmp, usb
from lab.host.errors import HostError
from lab.host.machine import THIS_MACHINE, Machine, System
from lab.paths import RUN
from lab.ports import free_port

DEFAULT_NAME = "usbhost1"
READY = "lab: ready"  # what init.sh prints last
# Names a directory, a network host and a libvirt UUID; the number at its end is in its address on a link.
NAME = re.compile(r"[a-z][a-z0-9-]*?([0-9]+)?")
KERNEL_TIMEOUT = 60  # seconds the host's kernel has to notice a device; behind a hub it takes some 3
PERIPHERAL = "/machine/peripheral"  # where QEMU keeps the devices that have an id


@dataclass(frozen=True)
class Plugged:
    """A device of the lab and the port path where it is plugged in, None if it is not."""

    device: usb.Device
    port: str | None


class Host:
    """The lab host `name`. Its files are under lab/run/<name>; several processes may use one host.

    Raises HostError for a name that cannot be one: letters, digits and dashes, as in usbhost1.
    """

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        match = NAME.fullmatch(name)
        if match is None:
            raise HostError(f"{name!r} is no name for a lab host: use a-z, 0-9 and -, as in usbhost1")
        self.name = name
        self.number = int(match[1] or 1)
        self.directory = RUN / name

    # Start and stop

    def start(
        self,
        *,
        memory_mib: int = 3072,
        shares: Sequence[Path] = (),
        background: Mapping[str, str] | None = None,
        peers: Sequence[str] = (),
        crowd: int = 0,
        qemu_arguments: Sequence[str] = (),
        system: System = THIS_MACHINE,
    ) -> None:
        """Start the host and return at once; wait_ready() waits until it can be used.

        shares: directories of this machine that the host may write to, at the same path.
        background: names and shell commands that the host starts as early as it can, before udev and
            libvirtd. In the host, NAME's output is in /var/log/NAME.log, its process id in /run/lab/NAME.pid.
        peers: the names of other lab hosts, each to be started with this one among its peers. They reach each
            other by name, as 10.9.0.N, N being the number at the end of the name.
        crowd: how many mice and tablets to plug in besides, behind hubs of their own.
        qemu_arguments: more arguments for QEMU.
        system: what the host boots.
        Raises HostError if the host runs already or QEMU does not start.
        """
        if self.running():
            raise HostError(f"{self.name} is running: stop it first (python -m lab host stop)")
        numbers = {peer: Host(peer).number for peer in peers}
        if len({self.number, *numbers.values()}) <= len(numbers):
            names = ", ".join((self.name, *peers))
            raise HostError(f"{names}: they need different numbers at the end of their names")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "serial.log").unlink(missing_ok=True)
        machine = Machine(
            name=self.name,
            number=self.number,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, self.name)),
            directory=self.directory,
            command_port=free_port(),
            libvirt_port=free_port(),
            memory_mib=memory_mib,
            shares=shares,
            background=background or {},
            peers=numbers,
            crowd=crowd,
            qemu_arguments=qemu_arguments,
            system=system,
        )
        debian = kernel.fetch()
        machine.write_files(debian)
        ports = {"command": machine.command_port, "libvirt": machine.libvirt_port}
        (self.directory / "ports.json").write_text(json.dumps(ports))
        done = subprocess.run(machine.qemu_command(emulator.fetch(), debian), capture_output=True, text=True)
        if done.returncode:
            raise HostError(f"QEMU does not start {self.name}: {done.stderr.strip()}")

    def wait_ready(self, timeout: float = 240) -> None:
        """Wait until commands run in the host, udev has settled and libvirtd answers; `timeout` in seconds.

        Raises HostError with the end of the serial log if the host ends before that, or takes longer.
        """
        deadline = time.monotonic() + timeout
        while not self._is_ready():
            if not self.running():
                raise HostError(f"{self.name} ended while it started{self._serial_end()}")
            if time.monotonic() > deadline:
                raise HostError(f"{self.name} is not ready after {timeout:.0f} s{self._serial_end()}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        log = self.directory / "serial.log"
        if not log.exists() or READY not in log.read_text(errors="replace"):
            return False
        listing = ["virsh", "--connect", self.libvirt_uri, "list"]
        return subprocess.run(listing, capture_output=True).returncode == 0

    def _serial_end(self) -> str:
        log = self.directory / "serial.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        # init's end is a kernel panic, whose long trace explains nothing.
        before_trace = re.split(r"\n.*(?=Kernel panic)|\n.* CPU: \d+ PID: ", text.replace("\r", ""))
        lines = "\n".join(before_trace[:2]).splitlines()[-20:]
        return "\n".join([f"; the end of {log}:", *lines])

    @property
    def address(self) -> str:
        """Where a peer reaches the host."""
        return f"10.9.0.{self.number}"

    def running(self) -> bool:
        """Whether the host's QEMU is there."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        """The recorded process id, if that process is still this host's QEMU and no other."""
        try:
            pid = int((self.directory / "pid").read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self.directory / "pid") in arguments else None

    def stop(self) -> None:
        """Switch the host off, as by pulling its plug; nothing happens if it is not running."""
        pid = self._pid()
        if pid is None:
            return
        with suppress(ProcessLookupError), _process(pid) as process:
            if self._pid() == pid:  # still, now that nobody else can get this number
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [])
        (self.directory / "pid").unlink(missing_ok=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processors meanwhile: nothing is heard of it, as of one that has lost its power."""
        with self._qmp() as call:
            call("stop")
        try:
            yield
        finally:
            with self._qmp() as call:
                call("cont")

    # Use

    @property
    def libvirt_uri(self) -> str:
        """The URI of the libvirtd in the host, for a client on this machine."""
        return self.driver_uri("qemu")

    def driver_uri(self, driver: str) -> str:
        """The same for one of its drivers: qemu or lxc."""
        return f"{driver}+tcp://127.0.0.1:{self._port('libvirt')}/system"

    def run(
        self,
        argv: str | Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 120,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host as root and return its exit code and what it printed.

        A string goes to bash. Bytes that are not UTF-8 come back as \\xNN. `timeout` is in seconds.
        Raises subprocess.CalledProcessError if `check` and the exit code is not 0, subprocess.TimeoutExpired,
        and HostError if the host does not answer.
        """
        argv = ["bash", "-c", argv] if isinstance(argv, str) else argv
        printed = {command.STDOUT: bytearray(), command.STDERR: bytearray()}
        code = self.stream(argv, lambda kind, data: printed[kind].extend(data), stdin.encode(), timeout)
        out, err = (data.decode(errors="backslashreplace") for data in printed.values())
        done = subprocess.CompletedProcess(argv, code, out, err)
        if check:
            done.check_returncode()
        return done

    def stream(
        self,
        argv: Sequence[str],
        output: command.Output,
        stdin: bytes = b"",
        timeout: float | None = None,
    ) -> int:
        """Run a command in the host and return its exit code; `output` gets what it prints, as it comes.

        See lab.host.command.run. Raises HostError if the host does not answer.
        """
        try:
            return command.run(self._port("command"), argv, output, stdin, timeout)
        except ConnectionError as error:
            raise HostError(f"{self.name} does not answer: {error}") from error

    def _port(self, name: str) -> int:
        if not self.running():
            raise HostError(f"{self.name} is not running: start it (python -m lab host start)")
        ports: dict[str, int] = json.loads((self.directory / "ports.json").read_text())
        return ports[name]

    # USB

    def devices(self) -> list[Plugged]:
        """Return the lab's devices and where each is plugged in."""
        with self._qmp() as call:
            return [Plugged(device, _port_of(call, device.name)) for device in usb.DEVICES.values()]

    def reads(self, name: str) -> int:
        """Return how often the stick `name` was read since it was plugged in; 0 if it is not."""
        with self._qmp() as call:
            # docs/interop in QEMU, query-blockstats: one entry for each device that has an image.
            return sum(
                entry["stats"]["rd_operations"]
                for entry in call("query-blockstats")
                if entry.get("node-name") == name
            )

    def plug(self, name: str, port: str | None = None) -> None:
        """Plug in the device `name` and wait until the host's kernel has it.

        It goes to the port path `port`, or where it was at the start; what is behind a hub comes with it.
        Raises HostError for an unknown name, a device that is plugged in already, a port that is taken or
        does not exist, and if the kernel does not notice.
        """
        device = _device(name)
        with self._qmp() as call:
            if _port_of(call, name) is not None:
                raise HostError(f"{name} is plugged in already")
            ports = _plug(call, device, port or _home(call, device))
        self._wait_for_kernel(device, ports, present=True)

    def unplug(self, name: str) -> None:
        """Pull out the device `name`, with what is behind it, and wait until the host's kernel has lost it.

        Raises HostError for an unknown name, a device that is not plugged in, and if the kernel does not
        notice.
        """
        device = _device(name)
        with self._qmp() as call:
            port = _port_of(call, device.name)
            if port is None:
                raise HostError(f"{name} is not plugged in")
            call("device_del", id=name)
        self._wait_for_kernel(device, [port], present=False)

    def replug(self, name: str, port: str | None = None) -> None:
        """Pull out the device `name` and plug it in again, at `port` or where it was.

        Raises HostError as plug() and unplug() do; with a bad `port` the device stays unplugged.
        """
        if port is None:
            with self._qmp() as call:
                port = _port_of(call, _device(name).name)
        self.unplug(name)
        self.plug(name, port)

    def _qmp(self) -> AbstractContextManager[qmp.Qmp]:
        self._port("command")
        return qmp.connect(self.directory / "qmp")

    def _wait_for_kernel(self, device: usb.Device, ports: Sequence[str], *, present: bool) -> None:
        """Wait until sysfs in the host has, or no longer has, a device at each of the port paths."""
        patterns = [_sysfs_pattern(device.controller, port) for port in ports]
        found = " && ".join(
            f"compgen -G {pattern}" if present else f"! compgen -G {pattern}" for pattern in patterns
        )
        try:
            self.run(command.until(found), timeout=KERNEL_TIMEOUT)
        except subprocess.TimeoutExpired:
            change = "the device at" if present else "the loss of the device at"
            raise HostError(
                f"the kernel of {self.name} did not notice {change} port {ports[0]} in {KERNEL_TIMEOUT} s"
            ) from None


@contextmanager
def _process(pid: int) -> Iterator[int]:
    """A file descriptor that stands for the process. Raises ProcessLookupError if there is none."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _device(name: str) -> usb.Device:
    try:
        return usb.DEVICES[name]
    except KeyError:
        known = ", ".join(usb.DEVICES)
        raise HostError(f"there is no device {name!r} in the lab; it has {known}") from None


def _port_of(call: qmp.Qmp, name: str) -> str | None:
    """The port path of the device, None if it is not plugged in."""
    if name not in (child["name"] for child in call("qom-list", path=PERIPHERAL)):
        return None
    port: str = call("qom-get", path=f"{PERIPHERAL}/{name}", property="port")
    return port


def _home(call: qmp.Qmp, device: usb.Device) -> str:
    """The port path where the device is plugged in if nobody says otherwise."""
    if device.hub is None:
        return device.port
    hub_port = _port_of(call, device.hub)
    if hub_port is None:
        raise HostError(f"{device.name} belongs behind {device.hub}, which is not plugged in")
    return f"{hub_port}.{device.port}"


def _plug(call: qmp.Qmp, device: usb.Device, port: str) -> list[str]:
    """Plug in the device and, behind a hub, its children. Return their port paths."""
    call("device_add", **usb.device_arguments(device, port))
    ports = [port]
    for child in usb.DEVICES.values():
        if child.hub == device.name and _port_of(call, child.name) is None:
            ports += _plug(call, child, f"{port}.{child.port}")
    return ports


def _sysfs_pattern(controller: str, port: str) -> str:
    """A shell pattern for the directory of the device at a port path: usb1/1-7/1-7.2 for 7.2.

    A device is on the controller's USB 2 or USB 3 bus, whose numbers the host's kernel gives out.
    """
    parts = port.split(".")
    path = "/".join(f"*-{'.'.join(parts[: depth + 1])}" for depth in range(len(parts)))
    return f"'/sys/bus/pci/devices/0000:00:{usb.CONTROLLERS[controller]}.0/usb*/{path}/idVendor'"
