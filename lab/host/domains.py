# SPDX-License-Identifier: Apache-2.0
"""libvirt domains that look like Nova's, for tests without Nova.

Nova's domain has the server's UUID and names the owner in its metadata.
"""

import subprocess
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from lab.guest import GuestImage, halting
from lab.host.errors import HostError
from lab.host.host import Host

# nova/virt/libvirt/config.py: NOVA_NS
NOVA_NAMESPACE = "http://openstack.org/xmlns/libvirt/nova/1.1"
CONSOLE_LOGS = "/var/log/libvirt/qemu"


@dataclass(frozen=True)
class Server:
    """Whom a domain stands for: the server in Nova, and the project and user that own it (UUIDs)."""

    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    project_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    user_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def console_log(self) -> str:
        """The file in the lab host where a guest's serial console goes."""
        return f"{CONSOLE_LOGS}/{self.name}.console.log"


def halted(server: Server, machine: str = "q35", usb: str = "qemu-xhci") -> str:
    """Return the XML of a domain of 64 MiB that is running, and does nothing.

    `machine` is QEMU's machine type; `usb` the model of its USB controller, `none` for no USB at all.
    """
    domain = _domain(server, 64, machine, usb)
    _boot(domain, kernel=halting.build())
    return _xml(domain)


def bare(server: Server) -> str:
    """Return the XML of a domain of 64 MiB that stays in its firmware until it has something to boot from."""
    return _xml(_domain(server, 64, "q35", "qemu-xhci"))


def guest(server: Server, image: GuestImage, memory_mib: int = 128) -> str:
    """Return the XML of a domain that boots the tiny guest, as Nova starts it: q35, xHCI, no graphics."""
    domain = _domain(server, memory_mib, "q35", "qemu-xhci")
    _boot(domain, kernel=image.kernel, initrd=image.initrd, cmdline=image.cmdline)
    devices = domain.find("devices")
    assert devices is not None
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=server.console_log, append="off")
    return _xml(domain)


def container(server: Server, root: str) -> str:
    """Return the XML of a container with a root directory of its own and the host's /usr.

    It runs the shell script /init there.
    """
    domain = ET.Element("domain", type="lxc")
    ET.SubElement(domain, "name").text = server.name
    ET.SubElement(domain, "uuid").text = server.uuid
    ET.SubElement(domain, "memory", unit="MiB").text = "64"
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type").text = "exe"
    ET.SubElement(system, "init").text = "/usr/bin/dash"
    ET.SubElement(system, "initarg").text = "/init"
    devices = ET.SubElement(domain, "devices")
    for source, target in ((root, "/"), ("/usr", "/usr")):
        filesystem = ET.SubElement(devices, "filesystem", type="mount")
        ET.SubElement(filesystem, "source", dir=source)
        ET.SubElement(filesystem, "target", dir=target)
    ET.SubElement(devices, "console", type="pty")
    return _xml(domain)


def _domain(server: Server, memory_mib: int, machine: str, usb: str) -> ET.Element:
    domain = ET.Element("domain", type="kvm")
    ET.SubElement(domain, "name").text = server.name
    ET.SubElement(domain, "uuid").text = server.uuid
    instance = ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{NOVA_NAMESPACE}}}instance")
    ET.SubElement(instance, f"{{{NOVA_NAMESPACE}}}name").text = server.name
    owner = ET.SubElement(instance, f"{{{NOVA_NAMESPACE}}}owner")
    ET.SubElement(owner, f"{{{NOVA_NAMESPACE}}}user", uuid=server.user_id).text = "demo"
    ET.SubElement(owner, f"{{{NOVA_NAMESPACE}}}project", uuid=server.project_id).text = "demo"
    ET.SubElement(domain, "memory", unit="MiB").text = str(memory_mib)
    ET.SubElement(domain, "vcpu").text = "1"
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type", arch="x86_64", machine=machine).text = "hvm"
    features = ET.SubElement(domain, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    devices = ET.SubElement(domain, "devices")
    ET.SubElement(devices, "controller", type="usb", model=usb)
    ET.SubElement(devices, "memballoon", model="none")
    return domain


def _boot(domain: ET.Element, **what: Path | str) -> None:
    """Boot this instead of a disk (libvirt, "Domain XML format": Direct kernel boot)."""
    system = domain.find("os")
    assert system is not None
    for name, value in what.items():
        ET.SubElement(system, name).text = str(value)


def _xml(domain: ET.Element) -> str:
    ET.register_namespace("nova", NOVA_NAMESPACE)
    return ET.tostring(domain, encoding="unicode")


def define(host: Host, xml: str) -> None:
    """Define a domain in the lab host. Raises HostError with libvirt's own words."""
    virsh(host, "define", "/dev/stdin", stdin=xml)


def virsh(host: Host, *arguments: str, stdin: str = "", driver: str = "qemu") -> str:
    """Run virsh against the lab host's libvirtd, and return what it prints. Raises HostError if it fails."""
    argv = ["virsh", "--quiet", "--connect", host.driver_uri(driver), *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise HostError(f"virsh {' '.join(arguments)} on {host.name}: {done.stderr.strip()}")
    return done.stdout
