# SPDX-License-Identifier: Apache-2.0
"""Directories under lab/cache that are made once, whoever is first, and Debian packages unpacked there."""

import fcntl
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.host.errors import HostError
from lab.paths import CACHE


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the directory of that name; `make` fills it if it is not there, and others wait meanwhile.

    What `make` raises is raised, and the directory is not there then.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    home = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            unfinished = CACHE / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(home)
    return home


def unpack(home: Path, packages: Sequence[str], options: Sequence[str] = ()) -> None:
    """Download Debian packages and unpack them in a directory.

    `options` are more options for apt-get. Raises HostError if it cannot download them.
    """
    call(["apt-get", *options, "download", "--quiet", *packages], cwd=home)
    for package in home.glob("*.deb"):
        call(["dpkg-deb", "--extract", package, home])
        package.unlink()


def call(argv: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run a command and return what it prints. Raises HostError, with what it says, if it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        command = " ".join(str(arg) for arg in argv)
        raise HostError(f"{command} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
