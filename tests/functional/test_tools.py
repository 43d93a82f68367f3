# SPDX-License-Identifier: Apache-2.0
"""The commands of oslo.config and oslo.policy, with the files that are shipped for them."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from compute_shim import policies

_CHECKOUT = Path(__file__).parents[2]
_SHIPPED = _CHECKOUT / "etc/usb-shim"
_MODULES = {
    "oslo-config-generator": "oslo_config.generator:main",
    "oslo-config-validator": "oslo_config.validator:main",
    "oslopolicy-list-redundant": "oslo_policy.generator:list_redundant",
    "oslopolicy-policy-generator": "oslo_policy.generator:generate_policy",
    "oslopolicy-sample-generator": "oslo_policy.generator:generate_sample",
}

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Runs a command, which finds the entry points of setup.cfg, whatever is installed."""
    metadata = tmp_path / "packages/openstack_usb_passthrough-1.0.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: openstack-usb-passthrough\nVersion: 1.0.0\n"
    )
    setup = configparser.ConfigParser()
    setup.read(_CHECKOUT / "setup.cfg")
    points = [f"[{group}]\n{names.strip()}\n" for group, names in setup["entry_points"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(points))

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        module, function = _MODULES[name].split(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *arguments],
            env={
                **os.environ,
                "PYTHONPATH": f"{metadata.parent}:{_CHECKOUT}",
                "XDG_CACHE_HOME": str(tmp_path),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_the_sample_configuration_has_the_options_of_all_that_reads_them(tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf.sample"
    done = tool(
        "oslo-config-generator", f"--config-file={_SHIPPED}/config-generator.conf", f"--output-file={file}"
    )
    assert done.returncode == 0, done.stderr
    sections: dict[str, set[str]] = {}
    for line in file.read_text().splitlines():
        if line.startswith("["):
            options = sections.setdefault(line.strip("[]"), set())
        elif option := re.match(r"#(\w+) =", line):
            options.add(option[1])
    assert {"transport_url", "debug", "log_dir", "host"} <= sections["DEFAULT"]
    assert {"connection", "max_retries"} <= sections["database"]
    credentials = {"auth_type", "auth_url", "username", "password", "user_domain_name", "project_name"}
    assert {*credentials, "application_credential_id", "region_name", "cafile"} <= sections["nova"]
    assert {*credentials, "www_authenticate_uri", "memcached_servers"} <= sections["keystone_authtoken"]
    assert {"policy_file"} <= sections["oslo_policy"]
    assert {"device_spec", "shield"} <= sections["usb"]
    assert {"driver"} <= sections["oslo_messaging_notifications"]
    assert {
        "agent",
        "api",
        "conductor",
        "cors",
        "history",
        "lease",
        "libvirt",
        "metrics",
        "oslo_limit",
        "oslo_messaging_rabbit",
        "oslo_middleware",
        "oslo_reports",
        "upgrade_levels",
    } <= set(sections)
    assert "#timeout = 30\n" in file.read_text()
    assert "#service_type = compute\n" in file.read_text()
    assert "#valid_interfaces = internal,public\n" in file.read_text()


def _documented() -> list[str]:
    """The configuration files in the installation guide: of a controller, and of a compute host."""
    text = (_CHECKOUT / "doc/source/install/guide.rst").read_text()
    blocks = re.findall(r"::\n\n(       \[DEFAULT\]\n(?:       .*\n|\n)+)", text)
    return ["".join(line.removeprefix("       ") for line in block.splitlines(True)) for block in blocks]


def _validate(tool: Tool, file: Path) -> subprocess.CompletedProcess[str]:
    generator = f"--config-file={_SHIPPED}/config-generator.conf"
    return tool("oslo-config-validator", generator, f"--input-file={file}")


@pytest.mark.parametrize("number", [0, 1])
def test_the_configuration_of_the_installation_guide_is_valid(
    number: int, tool: Tool, tmp_path: Path
) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(_documented()[number])
    assert "transport_url = rabbit://" in file.read_text()
    done = _validate(tool, file)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_a_configuration_of_all_groups_is_valid(tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text(
        _documented()[0]
        + "valid_interfaces = internal\ncafile = /etc/ssl/ca.pem\n"
        + "[api]\nmax_limit = 100\n[conductor]\nhost_down_time = 90\n[lease]\nlongest = *:3600\n"
        + "[history]\nretention_days = 30\n[metrics]\nenabled = true\n[upgrade_levels]\nagent = 1.2\n"
        + "[oslo_messaging_notifications]\ndriver = messagingv2\n[oslo_messaging_rabbit]\nssl = true\n"
        + "[oslo_limit]\nendpoint_service_type = usb-passthrough\n[oslo_policy]\npolicy_file = policy.yaml\n"
        + "[oslo_middleware]\nenable_proxy_headers_parsing = true\n[cors]\nallowed_origin = https://a.example\n"
        + "[oslo_reports]\nlog_dir = /var/log/usb-shim\n"
    )
    done = _validate(tool, file)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_a_misspelt_option_is_found(tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "usb-shim.conf"
    file.write_text("[nova]\nregionname = RegionOne\n")
    done = _validate(tool, file)
    assert done.returncode == 1
    assert "nova/regionname is not part of the sample config" in done.stderr


def test_the_sample_of_policies_has_all_of_them(tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml.sample"
    generator = f"--config-file={_SHIPPED}/policy-generator.conf"
    done = tool("oslopolicy-sample-generator", generator, f"--output-file={file}")
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    assert [rule.name for rule in policies.list_rules() if f'#"{rule.name}": ' not in text] == []


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """``--config-file`` of a service whose operator has changed one policy, and repeated another."""
    rules = {"usb-passthrough:devices:list": "role:admin", "admin_api": "role:admin"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    file = tmp_path / "usb-shim.conf"
    file.write_text(f"[oslo_policy]\npolicy_file = {tmp_path}/rules.yaml\n")
    return f"--config-file={file}"


def test_redundant_policies_are_listed(tool: Tool, changed: str) -> None:
    done = tool("oslopolicy-list-redundant", changed, "--namespace=usb-passthrough")
    assert (done.returncode, done.stdout) == (0, '"admin_api": "role:admin"\n'), done.stderr


def test_the_policies_in_force_are_generated(tool: Tool, changed: str) -> None:
    done = tool("oslopolicy-policy-generator", changed, "--namespace=usb-passthrough")
    assert done.returncode == 0, done.stderr
    rules = yaml.safe_load(done.stdout)
    assert rules["usb-passthrough:devices:list"] == "role:admin"
    assert rules["usb-passthrough:devices:show"] == next(
        rule.check_str for rule in policies.list_rules() if rule.name == "usb-passthrough:devices:show"
    )
    assert set(rules) == {rule.name for rule in policies.list_rules()}
