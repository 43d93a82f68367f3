# SPDX-License-Identifier: Apache-2.0
"""The services of the control plane, each a process of its own on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lab.cloud import config
from lab.cloud.process import Processes, http_answers, port_open, wait_until
from lab.cloud.site import LOG, STATE, VENV, Site

_START_SECONDS = 300

_WSGI: dict[str, tuple[str, Mapping[str, str | Path]]] = {
    "keystone": ("keystone.wsgi.api", {"OS_KEYSTONE_CONFIG_FILES": config.KEYSTONE}),
    "placement": ("placement.wsgi.api", {"OS_PLACEMENT_CONFIG_DIR": config.PLACEMENT.parent}),
    "glance": ("glance.wsgi.api", {"OS_GLANCE_CONFIG_DIR": config.GLANCE.parent}),
    "nova-api": (
        "nova.wsgi.osapi_compute",
        {
            "OS_NOVA_CONFIG_DIR": config.NOVA.parent,
            "OS_NOVA_CONFIG_FILES": f"api-paste.ini;{config.NOVA.name};{config.NOVA_API.name}",
        },
    ),
    "neutron": (
        "neutron.wsgi.api",
        {"OS_NEUTRON_CONFIG_DIR": config.NEUTRON.parent, "OS_NEUTRON_CONFIG_FILES": config.NEUTRON.name},
    ),
    "usb-shim-api": ("compute_shim.wsgi.api", {"OS_USB_SHIM_CONFIG_FILES": config.USB_SHIM}),
    "horizon": ("openstack_dashboard.wsgi", {"PYTHONPATH": config.HORIZON}),
}

NAMES = ("epmd", "rabbitmq", "mariadb", *_WSGI, "nova-conductor", "nova-scheduler", "usb-shim-conductor")
"""All processes of the control plane."""

# Where a GET needs neither a token nor the database.
_HEALTH = {"keystone": "/v3", "neutron": "/v2.0/", "horizon": "/auth/login/"}


def start_rabbitmq(site: Site, processes: Processes) -> None:
    """RabbitMQ, with a port mapper of its own (epmd), and wait until it answers."""
    home = STATE / "rabbitmq"
    home.mkdir(parents=True)
    env = {
        "HOME": home,
        "ERL_EPMD_PORT": site.ports["epmd"],
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"lab{site.ports['rabbitmq']}@localhost",
        "RABBITMQ_DIST_PORT": site.ports["rabbitmq-peers"],
        "RABBITMQ_CONFIG_FILE": config.RABBITMQ,
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": LOG / "rabbitmq",
        "RABBITMQ_PID_FILE": home / "pid",
        # One scheduler that does not spin: there are few cores and little to do.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }
    text = {name: str(value) for name, value in env.items()}
    processes.start("epmd", ["epmd"], text)
    # The wrapper on the PATH would change to the user rabbitmq, who cannot write here.
    processes.start("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], text)
    wait_until(
        lambda: port_open(site.ports["rabbitmq"]),
        "RabbitMQ does not start",
        _START_SECONDS,
        lambda: processes.pid("rabbitmq") is not None,
        processes.log("rabbitmq"),
    )


def start_wsgi(name: str, site: Site, processes: Processes, *options: str) -> None:
    """One of the APIs, or Horizon, under uWSGI; wait until it answers.

    :param options: more for uWSGI
    """
    module, env = _WSGI[name]
    processes.start(
        name,
        [
            VENV / "bin/uwsgi",
            *("--http-socket", f"127.0.0.1:{site.ports[name]}"),
            *("--virtualenv", VENV, "--module", module, "--callable", "application"),
            *("--processes", "1", "--threads", "4", "--enable-threads", "--thunder-lock"),
            *("--need-app", "--die-on-term", "--buffer-size", "65535", "--http-chunked-input"),
            # uWSGI closes each connection anyway; clients that are not told reuse it and are reset.
            *("--add-header", "Connection: close"),
            *options,
        ],
        _environment(env),
    )
    url = site.url(name, _HEALTH.get(name, "/"))
    wait_until(
        lambda: http_answers(url),
        f"{name} does not answer at {url}",
        _START_SECONDS,
        lambda: processes.pid(name) is not None,
        processes.log(name),
    )


def start_nova_worker(name: str, site: Site, processes: Processes) -> None:
    """nova-conductor or nova-scheduler; wait until it takes messages."""
    processes.start(name, [VENV / "bin" / name, "--config-file", config.NOVA])
    log = LOG / f"{name}.log"
    # oslo.service says so for each service, after the RPC server has been started.
    wait_until(
        lambda: (
            log.exists() and f"Starting {name.removeprefix('nova-')} node" in log.read_text(errors="replace")
        ),
        f"{name} does not start",
        _START_SECONDS,
        lambda: processes.pid(name) is not None,
        log,
    )


def start_usb_shim_conductor(processes: Processes) -> None:
    """Our own conductor."""
    name = "usb-shim-conductor"
    processes.start(name, [VENV / "bin" / name, "--config-file", config.USB_SHIM])


def _environment(env: Mapping[str, str | Path]) -> dict[str, str]:
    path = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, **{name: str(value) for name, value in env.items()}}
