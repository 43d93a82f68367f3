# SPDX-License-Identifier: Apache-2.0
"""The emulator that lab hosts run in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.host import cache, emulator


@pytest.mark.parametrize(("release", "asked"), [("bookworm", True), ("trixie", False)])
def test_where_the_backport_cannot_be_had_it_is_the_machine_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, asked: bool
) -> None:
    for name, text in (("apt-get", "echo asked >$0.log; exit 100"), ("qemu-system-x86_64", "echo own $*")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"VERSION_CODENAME": release})
    program = emulator.fetch()
    assert subprocess.run([program, "-S"], capture_output=True, text=True).stdout == "own -S\n"
    assert (tmp_path / "apt-get.log").exists() == asked
    (tmp_path / "apt-get.log").unlink(missing_ok=True)
    assert emulator.fetch() == program
    assert not (tmp_path / "apt-get.log").exists()
