#!/usr/bin/python3 -ISs
# SPDX-License-Identifier: Apache-2.0
"""libvirt's hook for QEMU domains: an arriving domain takes no USB device of the host it arrives at.

To be put, executable, at /etc/libvirt/hooks/qemu.d/50-usb-shim; libvirtd notices it when it is reloaded.

A domain that migrates here, or is restored here, names the USB devices that it had by bus and device
number. Those may be another device by now, or somebody else's, and QEMU would tear it from its driver for
some seconds. This points each hostdev of ours at an address that nothing has; the agent then puts in what
belongs there. Needs nothing but Python's standard library.

libvirt starts it with DOMAIN OPERATION SUB-OPERATION EXTRA, the domain's XML on stdin, and takes what it
prints for the XML (https://libvirt.org/hooks.html). Nothing printed means "as it is", so whatever goes
wrong here must end with another status than 0: libvirt then refuses the migration or the restore.
"""

import contextlib
import sys

#: Its time tells when libvirt last called us.
CALLED = "/run/libvirt/usb-shim-hook"

# What compute_shim.hypervisor.base.ALIAS_PREFIX says; this file stands alone.
_ALIAS_PREFIX = "ua-usb-"
#: The bus of what points nowhere. Linux numbers the devices of a bus from 1 to 127 (drivers/usb/core/hub.c:
#: choose_devnum). libvirt refuses a domain that has one address twice.
NOWHERE = 255


def rewritten(domain_xml: str) -> str:
    """The XML with our hostdevs pointing nowhere; nothing if there are none of ours."""
    import io
    from xml.etree import ElementTree

    # libvirt wrote the XML, and looks for its own prefixes in what it gets back.
    for _event, (prefix, uri) in ElementTree.iterparse(io.StringIO(domain_xml), ["start-ns"]):  # noqa: S314
        ElementTree.register_namespace(prefix, uri)
    domain = ElementTree.fromstring(domain_xml)  # noqa: S314
    ours = [hostdev for hostdev in domain.iterfind("devices/hostdev[@type='usb']") if _is_ours(hostdev)]
    for number, hostdev in enumerate(ours):
        for source in hostdev.findall("source"):
            hostdev.remove(source)
        source = ElementTree.SubElement(hostdev, "source", startupPolicy="optional")
        ElementTree.SubElement(source, "address", bus=str(NOWHERE), device=str(NOWHERE + number))
    return ElementTree.tostring(domain, encoding="unicode") if ours else ""


def _is_ours(hostdev):  # type: ignore[no-untyped-def]  # the type would have to be imported first
    alias = hostdev.find("alias")
    return alias is not None and alias.get("name", "").startswith(_ALIAS_PREFIX)


def main() -> None:
    """What libvirt calls."""
    with contextlib.suppress(OSError), open(CALLED, "w"):  # noqa: PTH123  pathlib takes long to import
        pass
    if sys.argv[2:4] in (["migrate", "begin"], ["restore", "begin"]):
        sys.stdout.write(rewritten(sys.stdin.read()))


if __name__ == "__main__":
    main()
