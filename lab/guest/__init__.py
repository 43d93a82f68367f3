# SPDX-License-Identifier: Apache-2.0
"""The tiny guest for servers in the lab: Debian's kernel, busybox, and a list of its USB devices."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.host import initrd, kernel
from lab.paths import CACHE

CODE = Path(__file__).parent

# What the guest loads before it says READY, and what it loads afterwards: the drivers for what is plugged in.
FIRST = ("xhci-pci",)
LATER = ("button", "evdev", "usbhid", "hid-generic", "usb-storage", "sd_mod", "ftdi_sio")

# What only costs time on an emulated processor is off. noreplace-smp keeps the kernel from patching out 9000
# lock prefixes one by one, each with flushes of the TLB; rodata=off spares a walk over all page tables. pci=
# spares three looks at each of 256 buses, 50,000 exits to QEMU.
COMMAND_LINE = (
    "console=ttyS0 quiet loglevel=3 nokaslr mitigations=off audit=0 no_timer_check tsc=reliable"
    " random.trust_cpu=on 8250.nr_uarts=1 cryptomgr.notests noreplace-smp rodata=off pci=noearly,lastbus=0"
)


@dataclass(frozen=True)
class GuestImage:
    """What Nova boots a server from: kernel and initramfs, and the kernel's command line."""

    kernel: Path
    initrd: Path
    cmdline: str


def build(init: Path = CODE / "init.sh", programs: Mapping[str, bytes] | None = None) -> GuestImage:
    """Make the guest under lab/cache and return where they are.

    :param init: what it runs, a script for busybox.
    :param programs: more programs in its /bin, statically linked.
    Raises lab.host.HostError if Debian's kernel cannot be downloaded or busybox is not installed.
    """
    debian = kernel.fetch()
    image = GuestImage(debian.small_vmlinux, CACHE / f"{init.parent.name}-initrd.cpio", COMMAND_LINE)
    modules = {"first": debian.module_files(FIRST), "later": debian.module_files(LATER)}
    # Somebody else may be booting it.
    whole = image.initrd.with_suffix(".new")
    extra = {f"bin/{name}": program for name, program in (programs or {}).items()}
    whole.write_bytes(initrd.build(init, modules, extra))
    whole.replace(image.initrd)
    return image
