# SPDX-License-Identifier: Apache-2.0
"""The main thread of a program that serves until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from oslo_config import cfg
from oslo_log import log
from oslo_reports import opts as report_opts
from oslo_reports.generators.conf import ConfigReportGenerator
from oslo_reports.guru_meditation_report import TextGuruMeditation

from compute_shim.signals import Signals
from compute_shim.version import VersionReport, version

LOG = log.getLogger(__name__)


class CannotServe(Exception):
    """The program cannot do its work; the text names the reason and the way out."""


class Daemon:
    """Takes the signals, and ends the program when a thread cannot go on.

    SIGTERM and SIGINT stop the program, SIGHUP reloads the options that can change, SIGUSR2 writes a Guru
    Meditation Report.

    :param name: of the program.
    :ivar stopping: set as soon as the program is to end.
    """

    def __init__(self, name: str, conf: cfg.ConfigOpts, signals: Signals) -> None:
        self._name = name
        self._conf = conf
        self._signals = signals
        self._failures: list[CannotServe] = []
        self.stopping = threading.Event()
        report_opts.set_defaults(conf)
        # The library's own section is about the global configuration, which we do not use.
        TextGuruMeditation.register_section(f"Configuration of {name}", ConfigReportGenerator(conf))

    def announce(self) -> None:
        """Log which program starts, and with which configuration."""
        LOG.info("%s", start_line(self._name, self._conf))

    def fail(self, reason: CannotServe) -> None:
        """End the program with a reason. May be called by any thread."""
        self._failures.append(reason)
        self._signals.wake()

    def wait(self, reloaded: Callable[[], None] = lambda: None) -> None:
        """Take signals until the program is to end.

        :param reloaded: called after options may have changed; raises nothing.
        :raises CannotServe: a thread has called `fail`
        """
        while not self._failures:
            number = self._signals.wait()
            if number in (signal.SIGTERM, signal.SIGINT):
                break
            if number == signal.SIGHUP and self._reload():
                reloaded()
            elif number == signal.SIGUSR2:
                self._report()
        self._signals.ignore()
        self.stopping.set()
        if self._failures:
            LOG.error("%s", self._failures[0])
            raise self._failures[0]
        LOG.info("Stopping")

    def _reload(self) -> bool:
        try:
            self._conf.mutate_config_files()
        except (cfg.Error, SystemExit, ValueError, OSError) as error:
            # SystemExit is what oslo.config raises for an option that may be on the command line as well.
            LOG.error("The configuration is not reloaded: %s", error)
            return False
        LOG.info("Configuration reloaded; options that are not marked as mutable need a restart")
        return True

    def _report(self) -> None:
        TextGuruMeditation.handle_signal(VersionReport(), self._name, self._conf.oslo_reports.log_dir, None)


def start_line(name: str, conf: cfg.ConfigOpts) -> str:
    """Which program, which version, and which configuration files, in one line."""
    files = ", ".join(conf.config_file or []) or "none"
    return f"{name} {version()} started, configuration files: {files}"
