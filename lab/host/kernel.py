# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernel, unpacked under lab/cache and never installed.

The lab hosts and the guests inside them boot the same kernel.
"""

import lzma
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.host import cache
from lab.host.elf import trim_kernel
from lab.host.errors import HostError

META_PACKAGE = "linux-image-amd64"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: its release (uname -r), its ELF image, and the directory of its modules.

    `small_vmlinux` lacks the type data (BTF) that BPF programs need, and with them libvirtd's device cgroups.
    """

    release: str
    vmlinux: Path
    small_vmlinux: Path
    modules: Path

    def module_files(self, names: Iterable[str]) -> list[Path]:
        """Return the modules `names` and all they depend on, in the order of loading.

        Raises HostError for a name that the kernel does not have as a module.
        """
        depends: dict[str, tuple[str, list[str]]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, needed = line.partition(":")
            depends[Path(path).stem] = (path, needed.split())
        order: list[str] = []
        for name in names:
            if name not in depends:
                raise HostError(f"kernel {self.release} has no module {name}")
            path, dependencies = depends[name]
            # modules.dep names the nearest dependency first, so loading goes from the end.
            order += [*reversed(dependencies), path]
        return [self.modules / path for path in dict.fromkeys(order)]


def fetch() -> Kernel:
    """Return the kernel under lab/cache; the first call downloads it (70 MB) with apt-get.

    Raises HostError if apt-get cannot download it.
    """
    home = cache.made_once("kernel", _unpack)
    modules = next((home / "lib/modules").iterdir())
    return Kernel(modules.name, home / "vmlinux", home / "vmlinux-small", modules)


def _unpack(home: Path) -> None:
    cache.unpack(home, [_package()])
    release = next((home / "lib/modules").iterdir()).name
    cache.call(["depmod", "--basedir", home, release])
    vmlinux = extract((home / f"boot/vmlinuz-{release}").read_bytes())
    (home / "vmlinux").write_bytes(trim_kernel(vmlinux))
    (home / "vmlinux-small").write_bytes(trim_kernel(vmlinux, without=(".BTF",)))


def _package() -> str:
    """The package that Debian's kernel meta package stands for today."""
    depends = cache.call(["apt-cache", "depends", "--important", META_PACKAGE])
    package = next(
        (line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line),
        None,
    )
    if package is None:
        raise HostError(f"apt knows no package {META_PACKAGE}: run apt-get update, then try again")
    return package


def extract(bzimage: bytes) -> bytes:
    """Return the ELF image inside a bzImage compressed with xz, as Debian's kernels are.

    An ELF image is entered directly (PVH), so no emulated processor has to unpack it. The offsets are those
    of the kernel's Documentation/x86/boot.rst: setup_sects 0x1f1, payload_offset 0x248, payload_length 0x24c.
    """
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # Four bytes with the unpacked size follow the xz stream, so lzma.decompress() would refuse it.
    return lzma.LZMADecompressor().decompress(bzimage[start : start + length])
