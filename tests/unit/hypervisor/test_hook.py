# SPDX-License-Identifier: Apache-2.0
"""libvirt's hook, as libvirt starts it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compute_shim.hypervisor import base
from compute_shim.hypervisor.libvirt import hook
from compute_shim.hypervisor.libvirt.config import usb_hostdevs

ARRIVALS = [("migrate", "begin"), ("restore", "begin")]
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
OURS = f"""
  <hostdev mode='subsystem' type='usb' managed='no'>
    <source startupPolicy='optional'>
      <vendor id='0x46f4'/><product id='0x0001'/><address bus='2' device='3'/>
    </source>
    <alias name='{base.ALIAS_PREFIX}one'/><address type='usb' bus='0' port='1'/>
  </hostdev>"""
STRANGE = """
  <hostdev mode='subsystem' type='usb'>
    <source><address bus='1' device='4'/></source><alias name='hostdev0'/>
  </hostdev>
  <hostdev mode='subsystem' type='pci'>
    <source><address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/></source>
  </hostdev>"""


def domain(*hostdevs: str) -> str:
    return f"""<domain type='qemu' xmlns:qemu='{QEMU}'>
  <name>instance-00000001</name>
  <metadata><nova:instance xmlns:nova='{NOVA}'><nova:name>&lt;n&gt;</nova:name></nova:instance></metadata>
  <devices>{"".join(hostdevs)}</devices>
  <qemu:commandline><qemu:arg value='-S'/></qemu:commandline>
</domain>"""


def run(operation: str, phase: str, xml: str) -> subprocess.CompletedProcess[str]:
    """As the hook's first line says, which is how libvirt starts it."""
    arguments = [hook.__file__, "instance-00000001", operation, phase, "-"]
    return subprocess.run(arguments, input=xml, capture_output=True, text=True)


@pytest.mark.parametrize(("operation", "phase"), ARRIVALS)
def test_ours_points_nowhere_and_all_else_stays(operation: str, phase: str) -> None:
    done = run(operation, phase, domain(STRANGE, OURS))
    assert (done.returncode, done.stderr) == (0, "")
    strange, ours = usb_hostdevs(done.stdout)
    assert (ours.alias, ours.bus, ours.device) == (f"{base.ALIAS_PREFIX}one", 255, 255)
    assert (strange.alias, strange.bus, strange.device) == ("hostdev0", 1, 4)
    before, after = (ElementTree.fromstring(xml) for xml in (domain(STRANGE, OURS), done.stdout))
    for tree in (before, after):
        for source in tree.findall("devices/hostdev/source"):
            source.clear()
    # The order of a hostdev's children means nothing to libvirt.
    assert sorted(_paths(before)) == sorted(_paths(after))
    assert f'xmlns:nova="{NOVA}"' in done.stdout
    assert "<qemu:arg" in done.stdout


def test_no_two_point_at_one_address() -> None:
    """libvirt says "Hostdev already exists in the domain configuration", and starts nothing."""
    found = usb_hostdevs(
        hook.rewritten(domain(OURS, OURS.replace("-one", "-two"), OURS.replace("-one", "-x")))
    )
    assert len({hostdev.address for hostdev in found}) == 3
    assert all(hostdev.bus == 255 and (hostdev.device or 0) >= 255 for hostdev in found)


def _paths(element: ElementTree.Element, above: str = "") -> list[tuple[str, str, str]]:
    path = f"{above}/{element.tag}"
    found = [(path, str(sorted(element.attrib.items())), (element.text or "").strip())]
    for child in element:
        found += _paths(child, path)
    return found


def test_a_source_says_only_that_it_is_optional_and_nowhere() -> None:
    tree = ElementTree.fromstring(hook.rewritten(domain(OURS.replace("optional", "mandatory"))))
    [source] = tree.findall("devices/hostdev/source")
    assert source.attrib == {"startupPolicy": "optional"}
    assert [(child.tag, child.attrib) for child in source] == [("address", {"bus": "255", "device": "255"})]


@pytest.mark.parametrize(("operation", "phase"), ARRIVALS)
def test_nothing_is_said_about_a_domain_without_any_of_ours(operation: str, phase: str) -> None:
    done = run(operation, phase, domain(STRANGE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("operation", "phase"), [("start", "begin"), ("prepare", "begin"), ("migrate", "end")]
)
def test_nothing_else_is_any_business_of_the_hook(operation: str, phase: str) -> None:
    done = run(operation, phase, "what is not even XML")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("xml", ["", "<domain>", "\x00", domain(OURS)[:-3]])
def test_what_cannot_be_read_stops_the_arrival(xml: str) -> None:
    done = run("migrate", "begin", xml)
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_mark_is_the_one_that_the_agent_makes() -> None:
    assert hook._ALIAS_PREFIX == base.ALIAS_PREFIX


def test_it_stands_alone() -> None:
    assert "import compute_shim" not in Path(hook.__file__).read_text()
    assert "from compute_shim" not in Path(hook.__file__).read_text()
