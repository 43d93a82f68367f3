# SPDX-License-Identifier: Apache-2.0
"""What the options of a configuration file take."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg, generator

from compute_shim import conf as configuration
from compute_shim.agent import device_spec
from compute_shim.conf import base, network_usb, usb


def load(directory: Path, text: str) -> cfg.ConfigOpts:
    """The configuration of a file, every value read."""
    file = directory / "usb-shim.conf"
    file.write_text(text)
    conf = configuration.load([f"--config-file={file}"])
    configuration.check(conf)
    return conf


# `$`, by which oslo.config refers to other options.


@pytest.mark.parametrize(
    ("written", "serial"),
    [
        ("A$BC", "A$BC"),
        ("A$$BC", "A$BC"),
        ("$host", "$host"),
        ("${host}", "${host}"),
        ("$$host", "$host"),
        ("$$$$", "$$"),
        ("$", "$"),
        ("US$ 5", "US$ 5"),
        ("$usb.device_spec", "$usb.device_spec"),
    ],
)
def test_a_dollar_in_a_rule_is_a_dollar(tmp_path: Path, written: str, serial: str) -> None:
    conf = load(
        tmp_path, f'[usb]\ndevice_spec = {{"port": "1-1"}}\ndevice_spec = {{"serial": "{written}"}}\n'
    )
    assert conf.usb.device_spec == ['{"port": "1-1"}', f'{{"serial": "{serial}"}}']
    assert len(device_spec.parse(conf.usb.device_spec)) == 2


def test_it_still_is_one_after_a_reload(tmp_path: Path) -> None:
    conf = load(tmp_path, '[usb]\ndevice_spec = {"serial": "A"}\n')
    (tmp_path / "usb-shim.conf").write_text('[usb]\ndevice_spec = {"serial": "A$BC"}\n')
    conf.mutate_config_files()
    assert conf.usb.device_spec == ['{"serial": "A$BC"}']


def test_without_a_rule_there_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, "").usb.device_spec == []


def test_the_option_is_in_the_sample_file(tmp_path: Path) -> None:
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    file = tmp_path / "sample"
    conf(["--namespace=compute_shim", f"--output-file={file}"])
    generator.generate(conf)
    assert "#device_spec =" in file.read_text()
    assert f"#host = {socket.gethostname()}" not in file.read_text()


def test_a_dollar_elsewhere_is_refused_with_the_name_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(cfg.Error) as caught:
        load(tmp_path, "[libvirt]\nconnection_uri = qemu+tcp://A$BC/system\n")
    assert str(caught.value).startswith("[libvirt] connection_uri: ")
    assert "Write $$" in str(caught.value)


# Host names, which are those of Nova's option `host`.

TAKEN = ["compute1", "compute_01", "_x", "Compute-1.example.org", "a_b.example.org", "192.0.2.1", "fe80::1"]
REFUSED = ["-x", "a b", "a..b", "a/b", "compute#1", "x" * 64, ""]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine whose name is what `socket.gethostname` says."""
    yield monkeypatch
    monkeypatch.undo()
    _import_anew()


def _import_anew() -> None:
    importlib.reload(base)
    importlib.reload(configuration)


def _named(machine: pytest.MonkeyPatch, name: str) -> None:
    machine.setattr(socket, "gethostname", lambda: name)
    _import_anew()


@pytest.mark.parametrize("name", TAKEN)
def test_a_host_is_called_as_in_nova(tmp_path: Path, machine: pytest.MonkeyPatch, name: str) -> None:
    assert load(tmp_path, f"[DEFAULT]\nhost = {name}\n").host == name
    _named(machine, name)
    assert load(tmp_path, "").host == name


@pytest.mark.parametrize("name", REFUSED)
def test_another_name_is_refused_with_the_name_of_the_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(cfg.Error) as caught:
        load(tmp_path, f"[DEFAULT]\nhost = {name}\n")
    assert str(caught.value).startswith("[DEFAULT] host: ")


@pytest.mark.parametrize("name", REFUSED)
def test_a_machine_with_such_a_name_needs_the_option(
    tmp_path: Path, machine: pytest.MonkeyPatch, name: str
) -> None:
    _named(machine, name)
    with pytest.raises(cfg.Error, match=r"^\[DEFAULT\] host is not set, and the name of this machine"):
        load(tmp_path, "")
    assert load(tmp_path, "[DEFAULT]\nhost = compute_01\n").host == "compute_01"


def test_the_options_of_the_group_usb_are_mutable() -> None:
    assert all(option.mutable for option in usb.OPTS)


# The network transport.

_FILES = "[network_usb]\ncert = /c\nkey = /k\nca = /a\n"


def test_the_network_transport_is_off_by_default(tmp_path: Path) -> None:
    assert not network_usb.is_set(load(tmp_path, ""))
    conf = load(tmp_path, _FILES)
    assert network_usb.is_set(conf)
    assert network_usb.ports(conf) == (49300, 49399)


@pytest.mark.parametrize(
    ("written", "refusal"),
    [
        ("[network_usb]\ncert = /c\n", r"\[network_usb\] key and ca not set. Set cert, key and ca, or none"),
        (f"{_FILES}ports = 5-4\n", "5-4 is not a range of TCP ports"),
        (f"{_FILES}ports = 0-4\n", "0-4 is not a range of TCP ports"),
        (f"{_FILES}ports = 4-65536\n", "4-65536 is not a range of TCP ports"),
        (f"{_FILES}ports = many\n", r"\[network_usb\] ports"),
    ],
)
def test_a_network_transport_that_is_set_in_part(tmp_path: Path, written: str, refusal: str) -> None:
    with pytest.raises(cfg.Error, match=refusal) as refused:
        load(tmp_path, written)
    assert "\n" not in str(refused.value)
