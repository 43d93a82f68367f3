# SPDX-License-Identifier: Apache-2.0
"""What is told of the certificate of a host before another host refuses it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from oslo_config import cfg

from compute_shim import conf as configuration
from compute_shim.agent import certificate, metrics
from compute_shim.relay.credentials import Credentials
from tests.pki import Authority

Load = Callable[..., cfg.ConfigOpts]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A configuration of host1 with these files."""

    def make(own: Credentials | None, host: str = "host1") -> cfg.ConfigOpts:
        files = {} if own is None else dataclasses.asdict(own)
        lines = [f"{option} = {file}\n" for option, file in files.items()]
        file = tmp_path / "usb-shim.conf"
        file.write_text(f"[DEFAULT]\nhost = {host}\n[network_usb]\n{''.join(lines)}")
        return configuration.load([f"--config-file={file}"])

    return make


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def days() -> float | None:
    """The value of the metric."""
    [family] = metrics.certificate_days.collect()
    return family.samples[0].value


def test_nothing_is_told_of_a_host_that_takes_no_part(load: Load) -> None:
    metrics.certificate_days.set(math.nan)
    assert certificate.problems(load(None)) == []
    assert math.isnan(days() or 0.0)


def test_a_certificate_that_ends_soon(load: Load, authority: Authority) -> None:
    [problem] = certificate.problems(load(authority.issue("host1", "host1")))
    assert re.search(r" expires on \w{3} .* GMT\. Replace it\.$", problem)
    assert 0.5 < (days() or 0.0) <= 1.0


def test_one_that_has_ended(load: Load, authority: Authority) -> None:
    [problem] = certificate.problems(load(authority.issue("host1", "host1", expired=True)))
    assert " has expired on " in problem
    assert (days() or 0.0) < 0


def test_one_of_another_host(load: Load, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_WARN_DAYS", 0)
    other = authority.issue("host2", "host2")
    [problem] = certificate.problems(load(other))
    assert "its certificate is for 'host2', not for 'host1'" in problem
    assert certificate.problems(load(other, "host2")) == []


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_files_that_cannot_be_used(load: Load, authority: Authority, content: str | None) -> None:
    own = authority.issue("host1", "host1")
    if content is None:
        Path(own.cert).unlink()
    else:
        Path(own.cert).write_text(content)
    [problem] = certificate.problems(load(own))
    assert own.cert in problem and "Correct the files." in problem
    assert days() == 0
