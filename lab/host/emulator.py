# SPDX-License-Identifier: Apache-2.0
"""The QEMU that lab hosts run in, unpacked under lab/cache and never installed.

It is most of what the lab costs. The one of Debian 12's backports takes a sixth less of a processor than
the 7.2 of Debian 12, for the boot of a host and for Python in it. The guests in the hosts run in the
machine's own.
"""

import platform
import shutil
from pathlib import Path

from lab.host import cache
from lab.host.errors import HostError

_PROGRAM = "qemu-system-x86_64"
_RELEASE = "bookworm"
_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    f" http://deb.debian.org/debian {_RELEASE}-backports main\n"
)
_BACKPORT = f"""\
#!/bin/sh
here=${{0%/*}}/usr
export QEMU_MODULE_DIR="$here/lib/x86_64-linux-gnu/qemu"
exec "$here/bin/{_PROGRAM}" -L "$here/share/qemu" -L "$here/share/seabios" "$@"
"""


def fetch() -> Path:
    """Return the program; the first call downloads it (13 MB) with apt-get.

    Where it cannot be had it is the machine's own, until lab/cache/emulator is deleted.
    """
    return cache.made_once("emulator", _make) / _PROGRAM


def _make(home: Path) -> None:
    program = home / _PROGRAM
    try:
        _unpack_backport(home)
        program.write_text(_BACKPORT)
    except HostError as error:
        why = str(error).replace("\n", "\n# ")
        program.write_text(f'#!/bin/sh\n# {why}\nexec {_PROGRAM} "$@"\n')
    program.chmod(0o755)


def _unpack_backport(home: Path) -> None:
    release = platform.freedesktop_os_release().get("VERSION_CODENAME")
    if release != _RELEASE:
        raise HostError(f"The backport is for {_RELEASE}, and this is {release}.")
    options = _apt_options(home / "apt")
    cache.call(["apt-get", *options, "update", "--quiet"])
    cache.unpack(home, _PACKAGES, options)
    shutil.rmtree(home / "apt")
    cache.call([home / "usr/bin" / _PROGRAM, "--version"])


def _apt_options(directory: Path) -> list[str]:
    """Of an apt that knows the backports only, and leaves the machine's lists as they are."""
    (directory / "lists").mkdir(parents=True)
    sources = directory / "sources.list"
    sources.write_text(_SOURCE)
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": directory / "lists",
        "Dir::Cache": directory,
        "APT::Sandbox::User": "root",
        "Acquire::http::Timeout": "20",
    }
    return [f"--option={name}={value}" for name, value in options.items()]
