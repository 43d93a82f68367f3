# SPDX-License-Identifier: Apache-2.0
"""The files in etc/, by the programs that read them."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from compute_shim import placement
from compute_shim.agent import host_view
from compute_shim.conf import network_usb
from lab.ports import free_port
from tests.functional.programs import PATIENCE, create_schema

_SOURCE = Path(__file__).parents[2]
_ETC = _SOURCE / "etc"
_GUIDE = (_SOURCE / "doc/source/install/guide.rst").read_text()
_UNITS = sorted((_ETC / "systemd/system").glob("*.service"))
# Where the files expect the virtualenv, and where it is.
_EXPECTED, _VIRTUALENV = "/opt/usb-shim", sys.prefix
_HIDING = (
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectKernelTunables",
    "ProtectProc",
)


def run(*command: str | Path) -> str:
    """Run a program that must succeed; what it says."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_as_root(*command: str | Path) -> None:
    """Run a program that only root may run; as somebody else by sudo, as lab/bootstrap does."""
    run(*([] if os.geteuid() == 0 else ["sudo"]), *command)


def adapted(file: str, directory: Path, **changes: str) -> Path:
    """A copy of a file of etc/ with this virtualenv in it.

    :param changes: what is told instead -> what to tell; each must be in the file.
    """
    text = (_ETC / file).read_text()
    for old, new in {_EXPECTED: _VIRTUALENV, **changes}.items():
        assert old in text or old == _EXPECTED
        text = text.replace(old, new)
    copy = directory / Path(file).name
    copy.write_text(text)
    return copy


def settings(unit: str) -> dict[str, str]:
    """Option -> value in a unit; the last one where there are several."""
    lines = (_ETC / f"systemd/system/{unit}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_glance_takes_the_kinds_for_properties_of_flavors() -> None:
    """What its API makes of the file; in a process of its own, for Glance changes how the process works."""
    code = (
        "import sys, webob; from glance.api.v2 import metadef_namespaces as api;"
        "body = open(sys.argv[1], 'rb').read();"
        "request = webob.Request.blank('/', method='POST', body=body, content_type='application/json');"
        "namespace = api.RequestDeserializer().create(request)['namespace'];"
        "of_flavors = api.NamespaceController._prefix_property_name(None, namespace, 'OS::Nova::Flavor');"
        "print(*of_flavors.properties)"
    )
    said = run(sys.executable, "-W", "ignore", "-c", code, _ETC / "glance/usb-kinds.json")
    assert said.splitlines()[-1] == f"resources:{placement.resource_class('hasp-dongle')}"


def test_the_installation_guide_names_files_that_there_are() -> None:
    named = set(re.findall(rf"{_EXPECTED}/etc/([\w./-]*\w)", _GUIDE))
    assert len(named) > len(_UNITS)
    assert [name for name in sorted(named) if not (_ETC / name).is_file()] == []


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    assert len(_UNITS) == 3
    units = [adapted(f"systemd/system/{unit.name}", tmp_path) for unit in _UNITS]
    said = run("systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units)
    assert "usb-shim" not in said


@pytest.mark.parametrize("unit", _UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_as_exposed_as_documented(unit: Path) -> None:
    documented = re.search(rf"^``{unit.stem}`` +([0-9.]+) ", _GUIDE, re.MULTILINE)
    assert documented
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    assert f"exposure level for {unit.name}: {documented[1]} " in said


def test_the_agent_sees_the_host_as_it_is() -> None:
    agent = settings("usb-shim-agent")
    assert not [option for option in _HIDING if option in agent]
    assert agent["ProtectHome"] == "read-only"


def test_the_agent_has_the_capabilities_that_it_asks_for_and_no_others() -> None:
    given = set(settings("usb-shim-agent")["CapabilityBoundingSet"].split())
    needed = [given & set(one_of) for one_of, _purpose in host_view._CAPABILITIES]
    assert all(needed)
    assert given == set().union(*needed)


def test_the_user_and_the_directories(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run_as_root("systemd-sysusers", f"--root={tmp_path}", _ETC / "sysusers.d/usb-shim.conf")
    name, _password, user, group, *_ = (tmp_path / "etc/passwd").read_text().split(":")
    assert name == settings("usb-shim-api")["User"] == settings("usb-shim-conductor")["User"]
    run_as_root("systemd-tmpfiles", f"--root={tmp_path}", "--create", _ETC / "tmpfiles.d/usb-shim.conf")
    for directory, mode in (("etc/usb-shim", 0o40750), ("var/log/usb-shim", 0o40770)):
        found = (tmp_path / directory).stat()
        assert (found.st_mode, found.st_uid, found.st_gid) == (mode, 0, int(group))
    assert user != "0"


def test_the_user_of_the_connections_and_its_directory(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run_as_root("systemd-sysusers", f"--root={tmp_path}", _ETC / "sysusers.d/usb-shim-relay.conf")
    name, _password, _user, group, *_ = (tmp_path / "etc/passwd").read_text().split(":")
    assert [name] == [option.default for option in network_usb.OPTS if option.name == "user"]
    run_as_root("systemd-tmpfiles", f"--root={tmp_path}", "--create", _ETC / "tmpfiles.d/usb-shim-relay.conf")
    found = (tmp_path / "etc/usb-shim-relay").stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (0o40750, 0, int(group))


def test_a_log_is_rotated_while_it_is_written(tmp_path: Path) -> None:
    rules = adapted(
        "logrotate.d/usb-shim", tmp_path, **{"/var/log/usb-shim": str(tmp_path), "su root usb-shim": ""}
    )
    log = tmp_path / "usb-shim-api.log"
    with log.open("a") as program:
        program.write("before\n")
        program.flush()
        run("/usr/sbin/logrotate", "--force", f"--state={tmp_path}/state", rules)
        program.write("after\n")
    assert log.read_text() == "after\n"
    assert (tmp_path / "usb-shim-api.log.1").read_text() == "before\n"


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answer(url: str, process: subprocess.Popen[bytes], log: Path, trust: Path | None = None) -> str:
    """What a server answers, once it does."""
    context = None if trust is None else ssl.create_default_context(cafile=str(trust))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, context=context) as response:  # noqa: S310
                return response.read().decode()
        except OSError as error:
            assert process.poll() is None and time.monotonic() < deadline, (error, log.read_text())
            time.sleep(0.1)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[int]:
    """The API under uWSGI; its port."""
    port, log = free_port(), tmp_path / "uwsgi.log"
    ini = adapted("usb-shim/uwsgi.ini", tmp_path, **{"127.0.0.1:9815": f"127.0.0.1:{port}"})
    configuration = tmp_path / "usb-shim.conf"
    configuration.write_text(
        create_schema(tmp_path, f"sqlite:///{tmp_path}/usb.sqlite")
        + "[DEFAULT]\ntransport_url = fake:///\n[keystone_authtoken]\nauth_type = none\n"
        + "[oslo_middleware]\nenable_proxy_headers_parsing = true\n"
    )
    command: list[str | Path] = [Path(_VIRTUALENV) / "bin/uwsgi", "--ini", ini]
    with running(command, log, OS_USB_SHIM_CONFIG_FILES=str(configuration)) as uwsgi:
        assert f"http://127.0.0.1:{port}/v1/" in answer(f"http://127.0.0.1:{port}/", uwsgi, log)
        yield port
    assert uwsgi.returncode == 0


def certificate(directory: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file."""
    certificate, key = directory / "certificate", directory / "key"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run(
        "openssl",
        "req",
        "-x509",
        "-nodes",
        *names,
        "-newkey",
        "rsa:2048",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    both = directory / "usb-shim.pem"
    both.write_text(certificate.read_text() + key.read_text())
    return both


def test_haproxy_in_front_of_uwsgi(api: int, tmp_path: Path) -> None:
    port, log, pem = free_port(), tmp_path / "haproxy.log", certificate(tmp_path)
    changes = {
        "192.0.2.1:9815": f"127.0.0.1:{port}",
        "127.0.0.1:9815": f"127.0.0.1:{api}",
        "/etc/haproxy/usb-shim.pem": str(pem),
    }
    defaults = tmp_path / "haproxy.cfg"
    defaults.write_text("defaults\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n")
    command: list[str | Path] = [
        "/usr/sbin/haproxy",
        "-f",
        defaults,
        "-f",
        adapted("haproxy/usb-shim.cfg", tmp_path, **changes),
    ]
    run(*command, "-c")
    with running(command, log) as haproxy:
        url = f"https://127.0.0.1:{port}/"
        # The API knows by the header that its clients speak TLS.
        assert f'"href":"{url}v1/"' in answer(url, haproxy, log, trust=pem)


def test_apache_finds_no_fault_in_its_site(tmp_path: Path) -> None:
    modules = "/usr/lib/apache2/modules"
    scripts = next(Path(_VIRTUALENV).glob("lib/python3.*")).name
    site = adapted(
        "apache2/sites-available/usb-shim.conf",
        tmp_path,
        **{"user=usb-shim group=usb-shim": "", "python3.11": scripts},
    )
    server = tmp_path / "apache2.conf"
    server.write_text(
        f"ServerName localhost\nServerRoot {tmp_path}\nPidFile {tmp_path}/pid\nErrorLog {tmp_path}/log\n"
        + "".join(
            f"LoadModule {name}_module {modules}/mod_{name}.so\n"
            for name in ("mpm_event", "authz_core", "wsgi")
        )
        + f"Include {site}\n"
    )
    assert "Syntax OK" in run("/usr/sbin/apache2", "-f", server, "-t")
