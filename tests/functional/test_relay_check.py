# SPDX-License-Identifier: Apache-2.0
"""What would end a relay is told before a device needs one: by a process that is started as relays are."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from compute_shim.agent import relay_process
from compute_shim.agent.relay_check import RelayCheck
from compute_shim.agent.relay_process import Options
from compute_shim.cmd import relay
from tests.functional.test_relays import Clock
from tests.pki import Authority

_OTHER_UID = 1
# An agent that is not root has relays run as its own user, whatever [network_usb] user says, and only root
# may give a file to another user: without it there is nothing to show.
_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has relays run as another user")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Of a host on which a relay can work, with the agent's own user."""
    own = Authority(tmp_path, "authority").issue("usbhost2", "usbhost2")
    return Options(own.cert, own.key, own.ca, (49300, 49399), 4, None)


def test_nothing_is_told_of_a_host_that_takes_no_part() -> None:
    assert RelayCheck(None).problems() == []


def test_nothing_is_wrong(options: Options) -> None:
    assert RelayCheck(options).problems() == []


@_AS_ROOT
def test_a_key_that_the_user_of_relays_cannot_read(options: Options) -> None:
    check = RelayCheck(dataclasses.replace(options, user="root"))
    assert check.problems() == []
    key = Path(options.key)
    key.chmod(0o600)
    os.chown(key, _OTHER_UID, -1)
    told = (
        f"A connection of [network_usb] would fail, as user root: {key} cannot be read: Permission denied."
        " See Devices over the network, in the administration guide."
    )
    assert check.problems() == [told]
    os.chown(key, 0, -1)
    assert check.problems() == []


@_AS_ROOT
def test_a_user_that_does_not_exist(options: Options) -> None:
    [problem] = RelayCheck(dataclasses.replace(options, user="nobody-here")).problems()
    assert "there is no user 'nobody-here'; create it, or set another" in problem


def test_a_file_that_is_not_there_is_told_of_elsewhere(options: Options) -> None:
    Path(options.cert).unlink()
    assert RelayCheck(options).problems() == []


def test_what_is_wrong_is_checked_again_after_a_minute(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    check = RelayCheck(options, clock)
    with monkeypatch.context() as patch:
        patch.setattr(relay_process, "MODULE", "compute_shim.cmd.no_relay")
        told = check.problems()
        assert "No module named compute_shim.cmd.no_relay" in told[0]
    clock.advance(59)
    assert check.problems() == told
    clock.advance(1)
    assert check.problems() == []


def test_what_is_right_is_not_checked_again(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    check = RelayCheck(options, clock)
    assert check.problems() == []
    monkeypatch.setattr(relay_process, "MODULE", "compute_shim.cmd.no_relay")
    clock.advance(3600)
    assert check.problems() == []


def test_a_library_that_is_not_installed(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("ctypes.CDLL", load)
    # They would be those of this process.
    monkeypatch.setattr("resource.setrlimit", lambda *limit: None)
    monkeypatch.setattr(relay, "_keep_to_itself", lambda: None)
    files = [f"--{name}={file}" for name, file in options.files.items()]
    monkeypatch.setattr("sys.argv", ["usb-shim-relay", "check", *files])
    with pytest.raises(SystemExit) as ended:
        relay.main()
    assert ended.value.code is None
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("a device of this host cannot be used elsewhere: libusb-1.0.so.0: cannot open")
    assert line.endswith("install libusbredirhost1 (Debian's name of the package)")
