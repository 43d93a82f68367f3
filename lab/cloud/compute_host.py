# SPDX-License-Identifier: Apache-2.0
"""The compute host: a lab host in which nova-compute and our agent run beside libvirtd."""

from __future__ import annotations

import shlex
from pathlib import Path

from compute_shim.hypervisor.libvirt import hook
from lab import nova_compute
from lab.cloud import config, databases
from lab.cloud.forks import Forks
from lab.cloud.process import Processes, wait_until
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, SHARE, VENV, Site
from lab.cloud.timeline import LabError
from lab.host import Host
from lab.paths import CACHE

_START_SECONDS = 600

# libvirtd probes each QEMU when it is first asked what they can do, and remembers: ask before nova-compute.
_CAPABILITIES = (
    "export LIBVIRT_DEFAULT_URI=qemu:///system; "
    "until virsh domcapabilities --virttype qemu && virsh capabilities; do sleep 1; done"
)

_HOOK = "/etc/libvirt/hooks/qemu.d/50-usb-shim"

NOVA_COMPUTE_LOG = SHARE / "nova-compute.log"
AGENT_LOG = SHARE / "usb-shim-agent.log"


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


def start() -> None:
    """Start the host; nova-compute begins as soon as its bundle is there, and waits for the control plane."""
    Host(COMPUTE_HOST).start(
        shares=[SHARE],
        background={
            "nova-compute": _nova_compute(),
            "usb-shim-agent": _agent(),
            "libvirt-capabilities": _CAPABILITIES,
        },
    )


def _nova_compute() -> str:
    """The shell command that prepares and becomes nova-compute."""
    modules = bundle_path()
    command = _python("start.py", modules, "--config-file", config.NOVA_COMPUTE)
    return "; ".join(
        [
            f"mkdir -p {_words(config.COMPUTE_STATE / 'instances', config.COMPUTE_STATE / 'lock')}",
            f"until [ -e {_words(modules)} ]; do sleep 0.2; done",
            f"exec {_words(*command)} > {_words(SHARE / 'nova-compute.out')} 2>&1",
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


def _agent() -> str:
    """The shell command that becomes our agent."""
    command: list[str | Path] = [VENV / "bin/usb-shim-agent", "--config-file", config.USB_SHIM_AGENT]
    return "; ".join(
        [
            # Before libvirtd starts, which looks for hooks then.
            f"install -D -m 755 {_words(hook.__file__, _HOOK)}",
            # Both take long to start; the way to the first server leads over nova-compute.
            f"until grep -qs 'Starting compute node' {_words(NOVA_COMPUTE_LOG)}; do sleep 0.5; done",
            f"exec {_words(*command)} > {_words(SHARE / 'usb-shim-agent.out')} 2>&1",
        ]
    )


def _words(*words: str | Path) -> str:
    return shlex.join(str(word) for word in words)


def wait_ready() -> None:
    """Until libvirtd answers."""
    Host(COMPUTE_HOST).wait_ready(_START_SECONDS)


def wait_nova_compute(site: Site) -> None:
    """Until nova-compute has told what its host is."""
    wait_until(
        lambda: databases.has_compute_node(site, COMPUTE_HOST),
        "nova-compute does not report its host",
        _START_SECONDS,
        _nova_compute_works,
        NOVA_COMPUTE_LOG,
        every=1,
    )


def _nova_compute_works() -> bool:
    """False after an error that ends it: on native threads the process stays all the same."""
    if not Host(COMPUTE_HOST).running():
        return False
    return not NOVA_COMPUTE_LOG.exists() or " CRITICAL nova " not in NOVA_COMPUTE_LOG.read_text(
        errors="replace"
    )


def map_to_cell(nova_manage: Forks) -> None:
    """Make the host known to the scheduler; the last that nova-manage has to do."""
    nova_manage.run("--config-file", config.NOVA, "cell_v2", "discover_hosts")
    nova_manage.close()


def wait_agent(admin: Rest) -> None:
    """Until our agent has reported its devices."""
    wait_until(
        lambda: (COMPUTE_HOST, "up") in [(host["host"], host["state"]) for host in _agents(admin)],
        "usb-shim-agent does not report its devices",
        _START_SECONDS,
        Host(COMPUTE_HOST).running,
        AGENT_LOG,
        every=1,
    )


def console(server_id: str) -> str:
    """What the guest of a server has printed since it was started.

    :raises LabError: no server with that id has a console on the host
    """
    log = config.COMPUTE_STATE / "instances" / server_id / "console.log"
    done = Host(COMPUTE_HOST).run(["cat", str(log)], check=False)
    if done.returncode:
        raise LabError(f"Server {server_id} has no console on {COMPUTE_HOST}: {done.stderr.strip()}")
    return done.stdout


def _agents(admin: Rest) -> list[dict[str, str]]:
    hosts: list[dict[str, str]] = admin.usb.get("/v1/hosts").json()["hosts"]
    return hosts
