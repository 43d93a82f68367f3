# SPDX-License-Identifier: Apache-2.0
"""The options of /etc/usb-shim/usb-shim.conf, one module per group.

A program that needs options of a library beside them registers those itself, so that no host needs the
libraries of another.
"""

from __future__ import annotations

from collections.abc import Iterable

from oslo_config import cfg
from oslo_log import log

from compute_shim.conf import agent, base, conductor, libvirt, usb

PROJECT = "usb-shim"

_OWN = (base, usb, agent, libvirt, conductor)


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """All our options by group, for oslo-config-generator (entry point ``oslo.config.opts``)."""
    return [(module.GROUP, module.OPTS) for module in _OWN]


def load(argv: Iterable[str] | None = None, version: str | None = None) -> cfg.ConfigOpts:
    """A configuration with our own options and those of the log, read from files and command line.

    :param argv: command line without the program's name, None for that of the process.
    :raises oslo_config.cfg.ConfigFilesNotFoundError: a file that was asked for is not there
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    for group, options in list_opts():
        conf.register_opts(options, group=group)
    conf(None if argv is None else list(argv), project=PROJECT, version=version)
    return conf
