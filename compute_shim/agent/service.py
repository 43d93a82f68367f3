# SPDX-License-Identifier: Apache-2.0
"""The agent's process: its threads and event sources."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import oslo_messaging
import pyudev
from oslo_config import cfg
from oslo_log import log

from compute_shim import bus, metrics, request_ids, rpc, wire
from compute_shim.agent import certificate, device_spec, usb_reset
from compute_shim.agent import metrics as agent_metrics
from compute_shim.agent.agent import Agent
from compute_shim.agent.discovery import Discovery
from compute_shim.agent.host_use import HostUse
from compute_shim.agent.relay_check import RelayCheck
from compute_shim.agent.relay_process import Options
from compute_shim.agent.relays import Relays
from compute_shim.agent.reporter import Reporter
from compute_shim.agent.shield import Shield
from compute_shim.agent.wiper import Wiper
from compute_shim.daemon import Daemon
from compute_shim.hypervisor.base import Driver
from compute_shim.objects import Claim, Device

LOG = log.getLogger(__name__)

# A sync is a sign of life and costs next to nothing. Looking at every device and domain costs something, and
# only makes up for an event that got lost.
_SYNCS_PER_LOOK = 3


class Endpoint:
    """RPC endpoint for the API and the conductor (`rpc.AgentClient`)."""

    target = oslo_messaging.Target(version=rpc.AGENT_VERSION)

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def claim_changed(self, context: dict[str, Any], claim: dict[str, Any]) -> None:
        """The intent for one device changed."""
        request_id = request_ids.valid(context.get("request_id"))
        self._agent.claims_arrived([wire.decode(Claim, claim)], complete=False, request_id=request_id)


def run(conf: cfg.ConfigOpts, driver: Driver, daemon: Daemon) -> None:
    """Reconcile this host with its claims until the program is stopped.

    :raises device_spec.InvalidDeviceSpec: a rule is malformed
    :raises compute_shim.daemon.CannotServe: the message bus refuses the connection
    """
    interval = conf.agent.sync_interval
    look_interval = _SYNCS_PER_LOOK * interval
    wiper = Wiper()
    options = Options.of(conf)
    relays, relay_check = Relays(options), RelayCheck(options)
    relays.adopt()
    use = HostUse(lambda pid: driver.is_server(pid) or relays.is_relay(pid), lent=wiper.ports)
    discovery = Discovery(device_spec.parse(conf.usb.device_spec), use.reasons)
    transport = bus.connect(conf)
    address = (conf.network_usb.address or conf.host) if relays.takes_part() else None
    client = rpc.ConductorClient(transport, conf.host, conf.upgrade_levels.conductor, address)
    reporter = Reporter(client, interval)
    shield = Shield(discovery.offers)
    agent = Agent(
        driver,
        discovery,
        reporter,
        look_interval,
        reset_device=functools.partial(_reset, conf),
        shield=lambda devices: shield.update(devices) if conf.usb.shield else shield.remove(),
        wiper=wiper,
        relays=relays,
        problems=lambda: [*certificate.problems(conf), *relay_check.problems()],
    )
    endpoint = rpc.server(transport, rpc.AGENT_TOPIC, conf.host, Endpoint(agent))
    # Its start waits for the message bus, without which the host must be looked after as well.
    server = bus.RpcServer(endpoint, "conductor and API", conf, daemon)
    stopping = threading.Event()
    threads = [
        threading.Thread(target=agent.run, name="agent"),
        threading.Thread(
            target=reporter.run,
            name="reporter",
            args=(lambda claims: agent.claims_arrived(claims, complete=True),),
        ),
        threading.Thread(target=relays.watch, name="relays", args=(agent.relays_changed, stopping)),
    ]
    daemon.announce()
    _warn_of_no_rule(conf)
    metrics.serve(conf, agent_metrics.registry(relays.traffic))
    _watch_udev(agent)
    for thread in threads:
        thread.start()
    server.start()
    try:
        daemon.wait(lambda: _reload_rules(conf, discovery, agent))
    finally:
        stopping.set()
        agent.stop()
        reporter.stop()
        for thread in threads:
            thread.join()
        driver.close()


def _reset(conf: cfg.ConfigOpts, device: Device) -> None:
    """Reset a device, and let the host's drivers have it, unless they are kept from it."""
    usb_reset.reset(device)
    if not conf.usb.shield:
        usb_reset.probe(device)


def _warn_of_no_rule(conf: cfg.ConfigOpts) -> None:
    if not conf.usb.device_spec:
        LOG.warning("[usb] device_spec is not set: no device of this host is offered")


def _reload_rules(conf: cfg.ConfigOpts, discovery: Discovery, agent: Agent) -> None:
    """Reload the rules from the configuration; keep the old ones if one is malformed."""
    try:
        rules = device_spec.parse(conf.usb.device_spec)
    except device_spec.InvalidDeviceSpec as error:
        LOG.error("The rules for devices stay as they were: %s", error)
        return
    LOG.info("Rules of [usb] device_spec: %s", len(rules))
    _warn_of_no_rule(conf)
    discovery.use(rules)
    agent.devices_changed()


def _watch_udev(agent: Agent) -> None:
    """Notify the agent of devices that the kernel has bound, and of those that udev has processed."""
    # udev takes a good while for names that an attach does not need.
    _watch("kernel", "usb_device", {"bind": agent.device_bound})
    # A driver of the host may take a device at any time: when its module is loaded, or QEMU has let it go.
    _watch("kernel", "usb_interface", {"bind": agent.device_bound})
    changed = {"add": agent.devices_changed, "remove": agent.devices_changed}
    _watch("udev", "usb_device", changed)
    # Interfaces go when the device is no longer authorized, and come again with that.
    _watch("udev", "usb_interface", changed)


def _watch(source: str, kind: str, tell: dict[str, Callable[[], None]]) -> None:
    """Call the handler of each event of a USB device or interface, by its action."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
    monitor.filter_by("usb", kind)

    def on_event(device: pyudev.Device) -> None:
        # A guest that takes an interface is no news.
        if device.action in tell and device.properties.get("DRIVER") != "usbfs":
            tell[device.action]()

    observer = pyudev.MonitorObserver(monitor, callback=on_event, name=f"{source} {kind}")
    observer.daemon = True
    observer.start()
