# SPDX-License-Identifier: Apache-2.0
"""The virtual machine that is a lab host: its settings, its initramfs, its QEMU command."""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.host import initrd, usb
from lab.host.kernel import Kernel
from lab.paths import ROOT

CODE = Path(__file__).parent

COMMAND_PORT = 4000  # of labd.py inside the host
LIBVIRT_PORT = 16509  # libvirtd's own, for TCP

# A host with two is up sooner. Beside another lab, LAB_PROCESSORS=1: of two, one spins for the other while
# this machine has none to run that.
PROCESSORS = os.environ.get("LAB_PROCESSORS", "2")

# QEMU emulates AMD's virtualization (SVM, nested paging) but not Intel's: a guest in the host runs under the
# host's own KVM, and is emulated once, not twice. What newer models have (AVX, SMAP, five levels of page
# tables) costs an emulator time.
PROCESSOR = "Opteron_G3,+svm,+npt"

# Enough to mount the machine's file system; udev loads the rest from there.
BOOT_MODULES = ("virtio_pci", "virtio_net", "9p", "9pnet_virtio", "overlay")

# What only costs time on an emulated processor is off.
# panic=-1 with QEMU's -no-reboot ends QEMU when init ends.
KERNEL_PARAMETERS = (
    "console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off audit=0 no_timer_check "
    "tsc=reliable random.trust_cpu=on 8250.nr_uarts=1 rcupdate.rcu_expedited=1 net.ifnames=0 "
    # A suspended hub tells its host of an unplugged device seconds later, or only with its next event.
    "usbcore.autosuspend=-1"
)


def clock_parameters(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Kernel parameters that tell the host how fast its time stamp counter counts.

    By itself it measures that against an emulated timer, and is wrong by factors where other processes take
    this machine's processor meanwhile: 736 instead of 2300 MHz was seen, and a clock three times too fast.
    The counter is this machine's own (QEMU, include/qemu/timer.h: cpu_get_host_ticks), whose kernel shows its
    frequency as bogomips: 500,000 of its ticks (Linux, init/calibrate.c).
    """
    found = re.search(r"^bogomips\s*: (\d+)\.(\d\d)$", cpuinfo.read_text(), re.MULTILINE)
    return [f"tsc_early_khz={int(found[1] + found[2]) * 5}"] if found else []


@dataclass(frozen=True)
class System:
    """What a lab host boots.

    `root` is the directory that becomes its file system, below a memory overlay; this Python is there, too.
    bash runs `init` there as the first process. `parameters` are more ones for the kernel.
    """

    root: Path
    init: Path
    parameters: tuple[str, ...] = ()


THIS_MACHINE = System(Path("/"), CODE / "init.sh", ("apparmor=0",))


@dataclass(frozen=True)
class Machine:
    """One lab host as it is to be started.

    `directory` is its own under lab/run. `peers` are the names and numbers of the hosts to which it has a
    network link each, eth1 and so on; their directories are beside this one. `background` maps names to shell
    commands that init starts early.
    """

    name: str
    number: int
    uuid: str
    directory: Path
    command_port: int
    libvirt_port: int
    memory_mib: int = 3072
    shares: Sequence[Path] = ()
    background: Mapping[str, str] = field(default_factory=dict)
    peers: Mapping[str, int] = field(default_factory=dict)
    crowd: int = 0
    qemu_arguments: Sequence[str] = ()
    system: System = THIS_MACHINE

    def write_files(self, kernel: Kernel) -> None:
        """Write the initramfs, the settings for init.sh and the sticks' images."""
        settings = self.directory / "settings.sh"
        settings.write_text(self._settings(kernel))
        initrd_settings = "".join(
            f"{name}={shlex.quote(str(value))}\n"
            for name, value in {
                "LAB_ROOT": ROOT,
                "LAB_INIT": self.system.init,
                "LAB_SETTINGS": settings,
            }.items()
        )
        (self.directory / "initrd.cpio").write_bytes(
            initrd.build(
                CODE / "initrd-init.sh",
                {"order": kernel.module_files(BOOT_MODULES)},
                {"settings": initrd_settings.encode()},
            )
        )
        usb.make_images(self.directory)

    def _settings(self, kernel: Kernel) -> str:
        values: dict[str, object] = {
            "LAB_NAME": self.name,
            "LAB_NUMBER": self.number,
            "LAB_UUID": self.uuid,
            "LAB_ROOT": ROOT,
            "LAB_PYTHON": sys.executable,
            "LAB_MODULES": kernel.modules,
        }
        lines = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
        shares = " ".join(shlex.quote(str(share)) for share in self.shares)
        peers = " ".join(f"{number}:{name}" for name, number in self.peers.items())
        background = " ".join(f"[{name}]={shlex.quote(command)}" for name, command in self.background.items())
        lines += [
            f"LAB_SHARES=({shares})",
            f"declare -A LAB_BACKGROUND=({background})",
            f"LAB_PEERS=({peers})",
        ]
        return "\n".join(lines) + "\n"

    def qemu_command(self, program: Path, kernel: Kernel) -> list[str]:
        """Return the command with which an emulator starts the machine as a daemon."""
        return [
            *(str(program), "-name", self.name, "-nodefaults", "-no-user-config"),
            *("-daemonize", "-pidfile", str(self.directory / "pid"), "-display", "none"),
            *("-accel", "tcg,tb-size=1024", "-machine", "q35,sata=off,smbus=off"),
            *("-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", str(self.memory_mib), "-no-reboot"),
            *("-kernel", str(kernel.vmlinux), "-initrd", str(self.directory / "initrd.cpio")),
            *("-append", " ".join((KERNEL_PARAMETERS, *self.system.parameters, *clock_parameters()))),
            *("-serial", f"file:{self.directory / 'serial.log'}"),
            *("-qmp", f"unix:{self.directory / 'qmp'},server=on,wait=off"),
            *("-device", "virtio-rng-pci"),
            *self._network(),
            *self._file_systems(),
            *self._usb(),
            *self.qemu_arguments,
        ]

    def _network(self) -> list[str]:
        ports = {self.command_port: COMMAND_PORT, self.libvirt_port: LIBVIRT_PORT}
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{outer}-:{inner}" for outer, inner in ports.items())
        arguments = ["-netdev", f"user,id=eth0{forwards}", "-device", "virtio-net-pci,netdev=eth0"]
        for index, (peer, number) in enumerate(self.peers.items(), start=1):
            # Datagram sockets: neither host has to be there first.
            link = {
                "type": "dgram",
                "id": f"eth{index}",
                "local": {"type": "unix", "path": str(self.directory / f"link-{number}")},
                "remote": {"type": "unix", "path": str(self.directory.parent / peer / f"link-{self.number}")},
            }
            mac = f"52:54:00:09:{number:02x}:{self.number:02x}"
            arguments += ["-netdev", json.dumps(link)]
            arguments += ["-device", f"virtio-net-pci,netdev=eth{index},mac={mac}"]
        return arguments

    def _file_systems(self) -> list[str]:
        arguments = []
        for tag, path, options in (
            # The machine's own file systems meet in one: remap keeps their inodes apart.
            ("root", self.system.root, "readonly=on,multidevs=remap"),
            ("checkout", ROOT, "readonly=on,multidevs=remap"),
            *((f"share{i}", path, "multidevs=remap") for i, path in enumerate(self.shares)),
        ):
            value = str(path).replace(",", ",,")
            arguments += ["-fsdev", f"local,id={tag},path={value},security_model=none,{options}"]
            arguments += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return arguments

    def _usb(self) -> list[str]:
        ports = {"p2": usb.CONTROLLER_PORTS, "p3": usb.CONTROLLER_PORTS}
        arguments = ["-chardev", "null,id=serial1"]
        for controller, slot in usb.CONTROLLERS.items():
            arguments += _json("-device", {"driver": "qemu-xhci", "id": controller, "addr": slot, **ports})
        for device in usb.DEVICES.values():
            if device.is_stick:
                arguments += _json("-blockdev", usb.image_arguments(device, self.directory))
            if not device.spare:
                arguments += _json("-device", usb.device_arguments(device, usb.full_port(device)))
        for extra in usb.crowd(self.crowd):
            arguments += _json("-device", extra)
        return arguments


def _json(option: str, value: dict[str, Any]) -> list[str]:
    return [option, json.dumps(value)]
