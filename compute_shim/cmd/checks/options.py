# SPDX-License-Identifier: Apache-2.0
"""Options that contradict each other or have no effect, and policies."""

from __future__ import annotations

from collections.abc import Iterator

import stevedore
from oslo_config import cfg
from oslo_policy import policy
from oslo_upgradecheck.upgradecheck import Result

from compute_shim import bus, policies, rpc, wire
from compute_shim.cmd.checks.results import Installation, found
from compute_shim.daemon import CannotServe
from compute_shim.policies import base

# The entry points of drivers (oslo_messaging/notify/notifier.py).
_NOTIFIERS = "oslo.messaging.notify.drivers"
# The default, which need not be there.
_POLICY_FILE = "policy.yaml"


def check(installation: Installation) -> Result:
    """No option contradicts another."""
    conf = installation.conf
    return found([*_host_down_time(conf), *_notifications(conf)], [*_pins(conf)])


def check_policies(installation: Installation) -> Result:
    """The policies that an operator has changed are read, and each is one that we ask for."""
    enforcer = policies.enforcer(installation.conf)
    file = installation.conf.oslo_policy.policy_file
    try:
        enforcer.load_rules()
        sound = enforcer.check_rules()
    except (cfg.Error, policy.InvalidDefinitionError, ValueError, OSError) as error:
        return found(
            [f"The policies of [oslo_policy] policy_file = {file} cannot be read: {error}. Correct them."]
        )
    if not enforcer.policy_path and file != _POLICY_FILE:
        text = f"[oslo_policy] policy_file = {file} is not there, so the default policies apply. Correct it."
        return found(warnings=[text])
    if not sound:
        return found(
            [f"A rule in [oslo_policy] policy_file = {file} names an unknown rule, or itself. Correct it."]
        )
    unknown = sorted(
        name
        for name in enforcer.file_rules
        if name.startswith(f"{base.PREFIX}:") and name not in enforcer.registered_rules
    )
    if not unknown:
        return found()
    text = (
        f"[oslo_policy] policy_file = {file} has rules that nothing asks for: {', '.join(unknown)}. Correct"
        " the names; oslopolicy-sample-generator --namespace usb-passthrough lists them."
    )
    return found(warnings=[text])


def _host_down_time(conf: cfg.ConfigOpts) -> Iterator[str]:
    down, interval = conf.conductor.host_down_time, conf.agent.sync_interval
    if down <= 2 * interval:
        yield (
            f"[conductor] host_down_time ({down}) is not more than twice [agent] sync_interval ({interval}),"
            " so agents that are up count as down. Raise host_down_time, or lower sync_interval on all hosts."
        )


def _notifications(conf: cfg.ConfigOpts) -> Iterator[str]:
    try:
        bus.connect_notifications(conf)
    except CannotServe as error:
        yield str(error)
    options = conf.oslo_messaging_notifications
    drivers = [name for name in options.driver if name]
    if options.transport_url and not drivers:
        yield (
            "[oslo_messaging_notifications] transport_url is set and driver is not, so no notification is"
            " sent. Set driver = messagingv2, or remove transport_url."
        )
    known = stevedore.ExtensionManager(_NOTIFIERS).names()
    unknown = [name for name in drivers if name not in known]
    if unknown:
        yield (
            f"[oslo_messaging_notifications] driver: unknown: {', '.join(unknown)}, so no notification is"
            f" sent. Set it to one of {', '.join(sorted(known))}."
        )


def _pins(conf: cfg.ConfigOpts) -> Iterator[str]:
    newest = {"conductor": rpc.CONDUCTOR_VERSION, "agent": rpc.AGENT_VERSION}
    for name, version in newest.items():
        pin = conf.upgrade_levels[name]
        if pin is not None and wire.number(pin) != wire.number(version):
            yield (
                f"[upgrade_levels] {name} = {pin}, and the newest version is {version}. Remove it when all"
                " programs are upgraded."
            )
