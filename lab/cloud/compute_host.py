# SPDX-License-Identifier: Apache-2.0
"""A compute host: a lab host in which nova-compute and our agent run beside libvirtd."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from compute_shim.hypervisor.libvirt import hook
from lab import nova_compute
from lab.cloud import config, databases
from lab.cloud.forks import Forks
from lab.cloud.process import Processes, wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, SECOND_HOST, VENV, Site, share
from lab.cloud.timeline import LabError
from lab.host import Host, command
from lab.host.machine import THIS_MACHINE, System
from lab.paths import CACHE

_START_SECONDS = 600
_PEERS = {COMPUTE_HOST: SECOND_HOST, SECOND_HOST: COMPUTE_HOST}

# libvirtd probes each QEMU when it is first asked what they can do, and remembers: ask before nova-compute.
_CAPABILITIES = (
    "export LIBVIRT_DEFAULT_URI=qemu:///system; "
    "until virsh domcapabilities --virttype kvm && virsh capabilities; do sleep 1; done"
)

_HOOK = "/etc/libvirt/hooks/qemu.d/50-usb-shim"


def bundle_path() -> Path:
    """The bundle for the virtualenv as it is: another name when something has been installed since."""
    return CACHE / f"nova-compute-{_site_packages().stat().st_mtime_ns}.bundle"


def make_bundle(processes: Processes) -> None:
    """Bundle nova-compute's modules, unless they are."""
    path = bundle_path()
    if path.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob("nova-compute-*.bundle"):
        old.unlink()
    processes.run("bundle", _python("bundle.py", path))


def start(name: str = COMPUTE_HOST, system: System = THIS_MACHINE, *, agent: bool = True) -> None:
    """Start the host; nova-compute begins as soon as its bundle is there, and waits for the control plane.

    :param system: what it boots.
    :param agent: whether the agent of this checkout is started, too.
    """
    logs = share(name)
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    Host(name).start(
        shares=[logs],
        background={
            "nova-compute": _nova_compute(name),
            "libvirt-capabilities": _CAPABILITIES,
            **({"usb-shim-agent": _agent(name)} if agent else {}),
        },
        peers=[_PEERS[name]],
        system=system,
    )


def _nova_compute_log(name: str) -> Path:
    return share(name) / "nova-compute.log"


def _nova_compute(name: str) -> str:
    """The shell command that prepares and becomes nova-compute."""
    modules = bundle_path()
    program = _python("start.py", modules, "--config-file", config.nova_compute(name))
    return "; ".join(
        [
            f"mkdir -p {_words(config.COMPUTE_STATE / 'instances', config.COMPUTE_STATE / 'lock')}",
            command.until(f"[ -e {_words(modules)} ]"),
            f"exec {_words(*program)} > {_words(share(name) / 'nova-compute.out')} 2>&1",
        ]
    )


def _python(script: str, *words: str | Path) -> list[str | Path]:
    """The command for one of lab.nova_compute's scripts, the same on this machine and in the host."""
    return [
        # Here the plugin loader notes what all packages offer; in the host it would look for long.
        *("env", f"XDG_CACHE_HOME={CACHE}", VENV / "bin/python", "-I", "-S"),
        *(Path(nova_compute.__file__).with_name(script), _site_packages(), *words),
    ]


def _site_packages() -> Path:
    return next((VENV / "lib").glob("python3.*")) / "site-packages"


def _agent(name: str) -> str:
    """The shell command that becomes our agent."""
    program: list[str | Path] = [VENV / "bin/usb-shim-agent", "--config-file", config.usb_shim_agent(name)]
    return "; ".join(
        [
            # Before libvirtd starts, which looks for hooks then.
            f"install -D -m 755 {_words(hook.__file__, _HOOK)}",
            # Both take long to start; the way to the first server leads over nova-compute.
            f"until grep -qs 'Starting compute node' {_words(_nova_compute_log(name))}; do sleep 1; done",
            f"exec {_words(*program)} > {_words(share(name) / 'usb-shim-agent.out')} 2>&1",
        ]
    )


def _words(*words: str | Path) -> str:
    return shlex.join(str(word) for word in words)


def wait_ready(name: str = COMPUTE_HOST) -> None:
    """Wait until libvirtd answers."""
    Host(name).wait_ready(_START_SECONDS)


def wait_nova_compute(site: Site, name: str = COMPUTE_HOST) -> None:
    """Wait until nova-compute has reported its host."""
    wait_until(
        lambda: databases.has_compute_node(site, name),
        f"nova-compute does not report its host {name}",
        _START_SECONDS,
        lambda: _nova_compute_works(name),
        _nova_compute_log(name),
        every=1,
    )


def _nova_compute_works(name: str) -> bool:
    """False after a fatal error: on native threads the process keeps running."""
    if not Host(name).running():
        return False
    log = _nova_compute_log(name)
    return not log.exists() or " CRITICAL nova " not in log.read_text(errors="replace")


def map_to_cell(nova_manage: Forks) -> None:
    """Make a new host known to the scheduler; the last that nova-manage has to do."""
    nova_manage.run("--config-file", config.NOVA, "cell_v2", "discover_hosts")
    nova_manage.close()


def wait_agent(admin: Rest, name: str = COMPUTE_HOST) -> None:
    """Until our agent has reported its devices; it is up before that, when it has asked which are known."""
    wait_until(
        lambda: any(
            host["host"] == name and host["state"] == "up" and any(host["devices"].values())
            for host in _agents(admin)
        ),
        f"usb-shim-agent does not report the devices of {name}",
        _START_SECONDS,
        Host(name).running,
        share(name) / "usb-shim-agent.log",
        every=1,
    )


def console(server_id: str, name: str = COMPUTE_HOST) -> str:
    """What the guest of a server has printed since it was started.

    :param name: the server's host.
    :raises LabError: no server with that id has a console on the host
    """
    log = config.COMPUTE_STATE / "instances" / server_id / "console.log"
    done = Host(name).run(["cat", str(log)], check=False)
    if done.returncode:
        raise LabError(f"Server {server_id} has no console on {name}: {done.stderr.strip()}")
    return done.stdout


def _agents(admin: Rest) -> list[dict[str, Any]]:
    hosts: list[dict[str, Any]] = admin.usb.get("/v1/hosts").json()["hosts"]
    return hosts
