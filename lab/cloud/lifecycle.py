# SPDX-License-Identifier: Apache-2.0
"""Start and stop the cloud, and show its status."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import traceback

import keystoneauth1.exceptions

from lab import guest
from lab.cloud import compute, compute_host, config, horizon, services, site
from lab.cloud.control import Control
from lab.cloud.process import Processes
from lab.cloud.rest import Rest
from lab.cloud.site import COMPUTE_HOST, ETC, LOG, PIDS, SECOND_HOST, STATE
from lab.cloud.timeline import LabError, Timeline
from lab.host import Host, HostError
from lab.paths import RUN

_USERS = ("admin", "demo", "other")
_FIRST_SERVER, *_OTHER_SERVERS = compute.SERVERS
_MORE = "more-servers"
_LOCK = RUN / "lock"
_COMPLETE = RUN / "complete"
"""There while the cloud is as `up` leaves it."""


def up(more_servers: bool = True) -> int:
    """Start everything until the server `demo` runs; if it does already, do nothing. The exit status.

    The other servers come up by themselves afterwards.

    :param more_servers: False to leave them to a later `start_more_servers`.
    """
    if os.geteuid() != 0:
        print("The lab must be started by root: its compute host sees this machine's files.", file=sys.stderr)
        return 1
    RUN.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_up():
            print("The lab is up.")
        else:
            down()
            if _bring_up():
                return 1
    if more_servers:
        start_more_servers()
        print(horizon.how_to_log_in(site.load()))
    return 0


def _bring_up() -> int:
    shutil.rmtree(LOG, ignore_errors=True)
    LOG.mkdir(parents=True)
    processes = Processes(PIDS, LOG)
    timeline = Timeline()
    try:
        _begin(timeline, processes)
        timeline.wait()
    except (Exception, KeyboardInterrupt) as error:
        _explain(error, processes)
        processes.close()
        down()
        # What still ran has lost what it waited for, and might have started the host just now.
        timeline.drain()
        down()
        return 1
    _COMPLETE.touch()
    timeline.say("the lab is up")
    return 0


def _begin(timeline: Timeline, processes: Processes) -> None:
    """All steps, those with the longest way to go first."""
    the_site = site.create()
    config.write_all(the_site)
    admin = Rest(the_site, "admin")
    step = timeline.step

    host = step(f"{COMPUTE_HOST} starts", compute_host.start)
    step("nova-compute's modules bundled", lambda: compute_host.make_bundle(processes))
    step(f"{COMPUTE_HOST}: libvirtd answers", compute_host.wait_ready, host)
    image = step("guest image made", guest.build)
    control = Control(timeline, the_site, processes)
    # Not sooner: the first server needs none of it.
    step("horizon answers", lambda: horizon.start(the_site, processes), *control.apis, control.scheduler)

    uploaded = step("image and flavor", lambda: compute.seed(admin, image.result()), image, *control.apis)
    reported = step(
        f"{COMPUTE_HOST}: nova-compute reports",
        lambda: compute_host.wait_nova_compute(the_site),
        host,
        control.conductor,
    )
    mapped = step(
        f"{COMPUTE_HOST} in its cell", lambda: compute_host.map_to_cell(control.nova_manage), reported
    )
    step(
        f"server {_FIRST_SERVER} is ACTIVE",
        lambda: compute.create_server(Rest(the_site, compute.SERVERS[_FIRST_SERVER]), _FIRST_SERVER),
        *(uploaded, mapped, control.scheduler),
    )
    step(
        f"{COMPUTE_HOST}: usb-shim-agent reports",
        lambda: compute_host.wait_agent(admin),
        host,
        *control.usb_shim,
    )


def _explain(error: BaseException, processes: Processes) -> None:
    if isinstance(error, LabError):
        text = error.explain()
    elif isinstance(error, KeyboardInterrupt):
        text = "Interrupted"
    elif isinstance(error, (HostError, keystoneauth1.exceptions.ClientException)):
        text = str(error)
    else:
        log = LOG / "up.log"
        log.write_text("".join(traceback.format_exception(error)))
        text = f"{type(error).__name__}: {error}\nThe details are in {log}"
    for name in processes.names():
        if name in services.NAMES and processes.pid(name) is None:
            text += f"\n{LabError(f'{name} has ended', processes.log(name)).explain()}"
    print(f"{text}\nThe lab is not up; stopping what was started. The logs stay in {LOG}", file=sys.stderr)


def is_up() -> bool:
    """Whether `up` completed and everything that it started still runs."""
    processes = Processes(PIDS, LOG)
    return (
        _COMPLETE.exists()
        and all(processes.pid(name) for name in services.NAMES)
        and Host(COMPUTE_HOST).running()
    )


def start_more_servers() -> None:
    """Create the servers beside `demo` in a process of its own, unless that has been done."""
    processes = Processes(PIDS, LOG)
    if _MORE not in processes.names():
        processes.start(_MORE, [sys.executable, "-m", "lab.cloud.more_servers"])


def create_more_servers(image_name: str = compute.IMAGE) -> None:
    """What that process does.

    :param image_name: what they boot
    :raises LabError: a server does not come up
    """
    the_site = site.load()
    for name in _OTHER_SERVERS:
        compute.create_server(Rest(the_site, compute.SERVERS[name]), name, image_name)


def down() -> int:
    """Stop everything that was started, whether or not `up` completed. Returns the exit status."""
    _COMPLETE.unlink(missing_ok=True)
    processes = Processes(PIDS, LOG)
    # The guests, nova-compute and the agent go with their host.
    for name in (COMPUTE_HOST, SECOND_HOST):
        Host(name).stop()
    processes.stop(*processes.names())
    for user in _USERS:
        config.openrc(user).unlink(missing_ok=True)
    site.forget()
    for directory in (STATE, ETC):
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def status() -> int:
    """Print what runs. The exit status: 0 if all of it does."""
    try:
        the_site = site.load()
    except LabError as error:
        print(error)
        return 1
    processes = Processes(PIDS, LOG)
    for name in services.NAMES:
        pid = processes.pid(name)
        state = f"pid {pid}" if pid else "NOT RUNNING"
        address = f"127.0.0.1:{the_site.ports[name]}" if name in the_site.ports else ""
        print(f"{name:<20} {state:<14} {address}".rstrip())
    print(f"{COMPUTE_HOST:<20} {'running' if Host(COMPUTE_HOST).running() else 'NOT RUNNING'}")
    try:
        states = compute.states(Rest(the_site, "admin"))
    except keystoneauth1.exceptions.ClientException as error:
        print(f"The servers cannot be listed: {error}")
        return 1
    for name in compute.SERVERS:
        print(f"{f'server {name}':<20} {states.get(name, 'not there yet')}")
    return 0 if is_up() else 1
