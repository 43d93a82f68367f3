# SPDX-License-Identifier: Apache-2.0
"""``usb-shim-manage devices`` and ``device-spec check``, on a compute host."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compute_shim.agent import inventory, shield
from compute_shim.agent.host_use import HostUse
from compute_shim.cmd import manage, manage_devices
from compute_shim.objects import Plugged, Reason, ReasonCode

STICK = Plugged(
    "SanDisk Corp. Blade", "0781", "5567", "", "", "4C53", "08", "480", "1-4.2", 1, 9, classes=("080650",)
)
KEYBOARD = Plugged("", "413c", "2107", "", "", "", "03", "1.5", "1-1", 1, 3, classes=("030101", "030000"))
HOSTILE = inventory.clean(b"'; DROP\n\x1b[31m<b>\xe2\x80\xae%s{0}")

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command with rules on a host with two devices, of which it uses none."""
    monkeypatch.setattr(inventory, "scan", lambda: [KEYBOARD, STICK])
    monkeypatch.setattr(HostUse, "reasons", lambda self, ports: {})
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def run(*command: str, rules: tuple[str, ...] = ()) -> int:
        file = tmp_path / "edited.conf"
        file.write_text("[usb]\n" + "".join(f"device_spec = {rule}\n" for rule in rules))
        monkeypatch.setattr(sys, "argv", ["usb-shim-manage", "--config-file", str(file), *command])
        return manage.main()

    return run


def test_devices_are_listed_with_the_rule_that_decides(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("devices", rules=('{"class": "08", "allow": false}', "{}")) == 0
    assert [re.split("  +", line) for line in capsys.readouterr().out.splitlines()] == [
        ["PORT", "BUS:DEVICE", "ID", "SERIAL", "CLASSES", "NAME", "RULE", "OFFERED"],
        ["1-1", "001:003", "413c:2107", "-", "030101 030000", "-", "none", "no: no rule matches"],
        [
            "1-4.2",
            "001:009",
            "0781:5567",
            "4C53",
            "080650",
            "SanDisk Corp. Blade",
            '1: {"class": "08", "allow": false}',
            "no: refused by rule 1",
        ],
    ]


def test_what_the_host_uses_is_listed_as_such(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"1-4.2": Reason(ReasonCode.HOST_MOUNT, "used by the host: mounted at /srv")}
    monkeypatch.setattr(HostUse, "reasons", lambda self, ports: used)
    run("devices", rules=("{}",))
    assert capsys.readouterr().out.splitlines()[-1].endswith("1: {}  no: used by the host: mounted at /srv")


def test_sockets_are_a_column_where_they_are_known(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = dataclasses.replace(STICK, socket="pci-0000:00:14.0-usbv2-0:4.2")
    monkeypatch.setattr(inventory, "scan", lambda: [stick])
    run("devices", rules=("{}",))
    assert capsys.readouterr().out.startswith("SOCKET                        PORT ")


def test_a_host_without_devices_has_an_empty_list(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "scan", list)
    assert run("devices") == 0
    assert capsys.readouterr().out == ""


def test_the_check_says_why_each_rule_before_does_not_match(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    too_wide = "a boot keyboard needs a rule with vendor_id and product_id"
    assert run("device-spec", "check", rules=('{"serial": "X"}', '{"port": "1-*"}', "{}")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 rules in [usb] device_spec",
        "",
        "413c:2107  (port 1-1, serial '', classes 030101 030000)",
        '  rule 1 does not match: {"serial": "X"}: serial is \'none\'',
        f'  rule 2 does not match: {{"port": "1-*"}}: {too_wide}',
        f"  rule 3 does not match: {{}}: {too_wide}",
        "  offered: no: no rule matches",
        "",
        "0781:5567 SanDisk Corp. Blade (port 1-4.2, serial '4C53', classes 080650)",
        '  rule 1 does not match: {"serial": "X"}: serial is \'4C53\'',
        '  rule 2 matches: {"port": "1-*"}',
        "  offered: yes",
    ]


@pytest.mark.parametrize("command", [["devices"], ["device-spec", "check"]])
def test_a_malformed_rule_is_an_error_of_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], command: list[str], tmp_path: Path
) -> None:
    assert run(*command, rules=("{}", '{"vendor_id": 781}')) == 1
    said = capsys.readouterr()
    assert said.err == (
        "usb-shim-manage: [usb] device_spec: 781 is no vendor_id; right is four hexadecimal digits in quotes,"
        f" as lsusb prints them: '{{\"vendor_id\": 781}}' (configuration: {tmp_path}/edited.conf)\n"
    )
    assert said.out == ""


@pytest.mark.parametrize("command", [["devices"], ["device-spec", "check"]])
def test_hostile_strings_are_shown_on_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    device = Plugged(HOSTILE, "dead", "beef", "", "", HOSTILE, "ff", "12", "1-1", 1, 2, classes=("ff0000",))
    monkeypatch.setattr(inventory, "scan", lambda: [device])
    assert run(*command, rules=('{"serial": "X"}',)) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "dead:beef" in line]
    assert HOSTILE in line


def test_the_shield_is_taken_off(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "x.rules"
    file.write_text("# of a version that is not known\n")
    monkeypatch.setattr(shield, "RULES", file)
    monkeypatch.setattr(shield, "reload_udev", lambda: None)
    assert run("shield", "remove") == 0
    assert not file.exists()


def test_who_may_not_take_the_shield_off_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.rules").mkdir()  # not even root may unlink it
    monkeypatch.setattr(shield, "RULES", tmp_path / "x.rules")
    assert run("shield", "remove") == 1


def test_who_is_not_root_is_told_what_is_missing(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run("devices") == 0
    assert "Only root sees" in capsys.readouterr().err


def _on_compute_host(
    directory: Path, *command: str, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Run the program where only the libraries of a compute host are installed."""
    file = directory / "usb-shim.conf"
    file.write_text('[usb]\ndevice_spec = {"vendor_id": "0781"}\n')
    absent = ["alembic", "sqlalchemy", "oslo_db", "webob", "keystoneauth1", "routes", "jsonschema"]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "from compute_shim.cmd import manage; sys.exit(manage.main())"
    )
    return subprocess.run(
        # What older libraries say of each other on import is not what the program says.
        [sys.executable, "-W", "ignore", "-c", script, "--config-file", str(file), *command],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding},
        timeout=60,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_compute_host_needs_no_database(tmp_path: Path, encoding: str) -> None:
    assert _on_compute_host(tmp_path, "devices", encoding=encoding).returncode == 0
    done = _on_compute_host(tmp_path, "device-spec", "check", encoding=encoding)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 rules in [usb] device_spec")


@pytest.mark.parametrize(
    "command", [["db", "sync"], ["history", "purge", "--days", "5"], ["host", "delete", "x"]]
)
def test_what_needs_the_service_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    done = _on_compute_host(tmp_path, *command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("pip install openstack-usb-passthrough[service]\n")
    assert done.stdout == ""


def test_a_name_that_the_terminal_cannot_show_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with open(1, "w", encoding="ascii", closefd=False) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        manage_devices._show_whatever_comes()
        print("漢字", flush=True)
    assert capfdbinary.readouterr().out == b"??\n"
