# SPDX-License-Identifier: Apache-2.0
"""The options of /etc/usb-shim/usb-shim.conf, one module per group.

A program that needs options of a library beside them (`conf.database`, `conf.nova`) registers those
itself, so that no host needs the libraries of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_log import log

from compute_shim.conf import (
    agent,
    api,
    base,
    conductor,
    history,
    lease,
    libvirt,
    metrics,
    network_usb,
    upgrade_levels,
    usb,
)

PROJECT = "usb-shim"

_OWN = (base, api, usb, network_usb, agent, libvirt, conductor, history, lease, upgrade_levels, metrics)


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """All options by group, for oslo-config-generator (entry point ``oslo.config.opts``)."""
    # Here, because a compute host has no keystoneauth and needs none.
    from compute_shim.conf import keystone_authtoken, keystoneauth, nova, placement

    return [
        *((module.GROUP, module.OPTS) for module in _OWN),
        (nova.GROUP, nova.list_opts()),
        (placement.GROUP, placement.list_opts()),
        # keystonemiddleware tells all but these.
        (keystone_authtoken.GROUP, keystoneauth.list_credentials()),
    ]


def load(
    argv: Iterable[str] | None = None,
    version: str | None = None,
    prepare: Callable[[cfg.ConfigOpts], None] = lambda conf: None,
) -> cfg.ConfigOpts:
    """A configuration with our own options and those of the log, read from files and command line.

    :param argv: command line without the program's name, None for that of the process.
    :param prepare: registers what else the command line may have.
    :raises oslo_config.cfg.ConfigFilesNotFoundError: a file that was asked for is not there
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    for module in _OWN:
        conf.register_opts(module.OPTS, group=module.GROUP)
    prepare(conf)
    conf(None if argv is None else list(argv), project=PROJECT, version=version)
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Read every option that is registered: oslo.config looks at a value only when somebody asks for it.

    :raises oslo_config.cfg.Error: a value is not one that the option takes
    """
    for name in conf:
        value = _read(conf, name, "DEFAULT")
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                _read(value, option, name)
    base.check(conf)
    network_usb.check(conf)


def _read(options: Mapping[str, Any], name: str, group: str) -> Any:
    try:
        return options[name]
    except cfg.ConfigSourceValueError as error:
        # It names the file as LocationInfo(location=..., detail='/etc/usb-shim/usb-shim.conf').
        text = re.sub(r"LocationInfo\(.*?detail='(.*?)'\)", r"\1", str(error))
        raise cfg.ConfigFileValueError(f"[{group}] {name}: {text}. Correct it.") from None
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        # The option is known: its value refers to one that is not.
        raise cfg.ConfigFileValueError(
            f"[{group}] {name}: {error}. Write $$ where $ stands for itself."
        ) from None
