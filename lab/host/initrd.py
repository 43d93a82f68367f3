# SPDX-License-Identifier: Apache-2.0
"""An initramfs written from Python: busybox, an init script, kernel modules."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.host.elf import trim_module
from lab.host.errors import HostError

S_IFDIR = 0o040755
S_IFREG = 0o100755


def build(
    init: Path, modules: Mapping[str, Iterable[Path]], extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Return an uncompressed cpio archive (newc) with /init, /bin/busybox and kernel modules.

    `modules` are lists of modules in the order of loading. The list NAME becomes the file /modules/NAME with
    a module a line, found in /modules; what an earlier list has is left out. `extra` gives more files, from
    their path without the first slash to their content.
    Raises HostError if busybox is not installed.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise HostError("busybox is not installed: apt-get install busybox-static")
    files = {"init": init.read_bytes(), "bin/busybox": Path(busybox).read_bytes()}
    for name, paths in modules.items():
        new = [path for path in paths if f"modules/{path.name}" not in files]
        files |= {f"modules/{path.name}": trim_module(path.read_bytes()) for path in new}
        files[f"modules/{name}"] = "".join(f"{path.name}\n" for path in new).encode()
    directories = ["bin", "dev", "modules", "proc", "sys"]
    entries = [(name, S_IFDIR, b"") for name in directories]
    entries += [(name, S_IFREG, data) for name, data in {**files, **(extra or {})}.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(number, *entry) for number, entry in enumerate(entries, start=1))


def _entry(inode: int, name: str, mode: int, data: bytes) -> bytes:
    """One member as Documentation/driver-api/early-userspace/buffer-format.rst of the kernel has it."""
    encoded = name.encode() + b"\0"
    links = 2 if mode == S_IFDIR else 1
    numbers = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
