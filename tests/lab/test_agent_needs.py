# SPDX-License-Identifier: Apache-2.0
"""In a container with exactly what the documentation lists the agent works; with less it refuses.

The list is doc/source/security/agent-needs.rst.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cloud.site import VENV
from lab.paths import ROOT
from tests.lab.world import World

# What the documentation lists.
PATHS = ("proc", "sys", "dev", "run/udev", "run/libvirt", "etc/libvirt")
CAPABILITIES = ("dac_read_search", "sys_ptrace", "checkpoint_restore", "mknod")
# What the program itself is: a container's image.
IMAGE = ("usr", "etc/ssl", "root", str(ROOT).removeprefix("/"))
CONTAINER = "/run/lab/container"
# Far beyond what a start takes: the emulated host reads every file of the program from this machine.
_START_SECONDS = 600


def container(
    agent: str,
    *,
    paths: tuple[str, ...] = PATHS,
    capabilities: tuple[str, ...] = CAPABILITIES,
    namespace: str = "",
    after: str = "true",
) -> str:
    """A shell command that runs the agent in a container.

    :param namespace: an option of unshare(1), besides the mount namespace.
    :param after: a command that changes the container before the agent starts.
    """
    bounds = "".join(f",+{name}" for name in capabilities)
    inside = "\n".join(
        [
            "set -e",
            f"mkdir -p {CONTAINER}; mount -t tmpfs container {CONTAINER}; cd {CONTAINER}",
            "ln -s usr/bin usr/sbin usr/lib usr/lib64 .",
            *(f"mkdir -p {path}; mount --rbind /{path} {path}" for path in (*IMAGE, *paths)),
            "mkdir -p tmp var; ln -s ../run var/run; cp /etc/ld.so.cache etc",
            after,
            f"exec chroot . setpriv --bounding-set=-all{bounds} {agent}",
        ]
    )
    return f"unshare --mount {namespace} bash -c {shlex.quote(inside)}"


def agent(world: World) -> str:
    """The command of the host's agent."""
    return f"{VENV}/bin/usb-shim-agent --config-file {world.stack.agent.config}"


@pytest.fixture
def no_other(world: World) -> Iterator[None]:
    """The usual agent is stopped meanwhile."""
    world.stack.agent.stop()
    yield
    world.stack.agent.start()


@pytest.mark.usefixtures("no_other")
def test_with_what_is_documented_it_works(world: World) -> None:
    log = "/var/log/usb-shim-agent-container.log"
    pid = world.shell(f"setsid {container(agent(world))} > {log} 2>&1 < /dev/null & echo $!").stdout.strip()
    try:
        started = f"until grep -q Connected {log}; do sleep 1; [ -e /proc/{pid} ] || exit 1; done"
        world.host.run(started, timeout=_START_SECONDS)
        world.wait_state("LABSTICK01", "available")
        world.attach("LABSTICK01")
        assert world.held_by("LABSTICK01") == ["one"]
        disk = world.disk("2-2")
        world.shell(f"setsid sleep 3600 < {disk} > /dev/null 2>&1 & echo $! > /run/lab/reader.pid")
        world.wait_state("LABSTICK02", "unavailable", "host_process")
        world.shell("kill $(cat /run/lab/reader.pid)")
        world.wait_state("LABSTICK02", "available")
        world.detach("LABSTICK01")
        events = world.admin.devices.events(world.device("LABSTICK01")["id"])
        assert events[0]["reason_code"] == "reset"
    except Exception as error:
        error.add_note(world.shell(f"tail -n 30 {log}").stdout)
        raise
    finally:
        world.shell(f"kill {pid}; while [ -e /proc/{pid} ]; do sleep 0.1; done")


def refusal(world: World, command: str) -> str:
    """What a command that has to fail says on stderr."""
    done = world.host.run(command, timeout=_START_SECONDS, check=False)
    assert done.returncode == 1, done
    return done.stderr


def less(paths: str = "", capability: str = "") -> dict[str, Any]:
    return {
        "paths": tuple(path for path in PATHS if path != paths),
        "capabilities": tuple(name for name in CAPABILITIES if name != capability),
    }


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        pytest.param({"namespace": "--pid --fork"}, "pid namespace .*--pid=host", id="host's process ids"),
        pytest.param({"namespace": "--net"}, "net namespace .*--network=host", id="host's network"),
        pytest.param({"namespace": "--user --map-root-user"}, "user namespace", id="host's users"),
        *(
            pytest.param(less(capability=name), f"CAP_{name.upper()}.* is missing", id=name)
            for name in CAPABILITIES
        ),
        pytest.param({"after": "umount -l dev; mount -t tmpfs -o nodev,mode=755 dev dev"}, "/dev", id="dev"),
        pytest.param({"after": "umount -l sys"}, "/sys", id="sys"),
        pytest.param(less(paths="run/udev"), "/run/udev is missing", id="udev"),
        pytest.param(
            {"after": "umount -l proc; mount -t proc -o subset=pid proc proc"}, "/proc", id="all of proc"
        ),
    ],
)
def test_with_one_thing_less_it_refuses(world: World, missing: dict[str, Any], named: str) -> None:
    """The check alone, with which the agent starts: the program needs 15 s until there."""
    check = "from compute_shim.agent import host_view; host_view.refuse_blind()"
    said = refusal(world, container(f"{VENV}/bin/python -c {shlex.quote(check)}", **missing))
    assert re.search(f"CannotSeeHost: .*{named}", said), said


def test_the_program_says_in_one_line_why_it_refuses(world: World) -> None:
    """The usual agent goes on meanwhile: one that refuses does nothing."""
    said = refusal(world, container(agent(world), **less(paths="run/udev")))
    lines = [line for line in said.splitlines() if line.startswith("usb-shim-agent: ")]
    assert len(lines) == 1, said
    assert "/run/udev is missing" in lines[0]
