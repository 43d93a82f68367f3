# SPDX-License-Identifier: Apache-2.0
"""What all programs share: options, logs, and a one-line error instead of a traceback."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from oslo_config import cfg
from oslo_log import log

from compute_shim import conf as configuration
from compute_shim.daemon import CannotServe, Daemon
from compute_shim.signals import Signals
from compute_shim.version import version

Register = Callable[[cfg.ConfigOpts], None]

# oslo.config ends the process with this code for an option that may be on the command line as well
# (``ConfigOpts._validate_cli_options``); argparse has 2 for a command line that it cannot read.
_BAD_VALUE = 1
_NO_FILE = f"no file, by default /etc/{configuration.PROJECT}/{configuration.PROJECT}.conf"


def serve(
    name: str,
    body: Callable[[cfg.ConfigOpts, Daemon], None],
    register: Iterable[Register] = (),
    refusals: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """Run a program that serves until it is told to stop, and end the process.

    :param body: returns at the end; raises what is in `refusals`.
    :param register: each registers options of a library.
    """
    signals = Signals()
    code = run(
        name,
        lambda conf: body(conf, Daemon(name, conf, signals)),
        register,
        refusals=refusals,
    )
    _end(code)


def run(
    name: str,
    body: Callable[[cfg.ConfigOpts], int | None],
    register: Iterable[Register] = (),
    *,
    prepare: Register = lambda conf: None,
    refusals: tuple[type[Exception], ...] = (),
    failure: int = 1,
) -> int:
    """Run a program.

    :param body: does the work and returns the exit code, None for 0.
    :param register: each registers options of a library.
    :param prepare: registers what else the command line may have.
    :param refusals: exceptions whose text is for the operator.
    :param failure: the exit code after one of these.
    :returns: the exit code
    """
    files: list[str] = []
    try:
        conf = configure(name, register, prepare=prepare)
        files = configuration_files(conf)
        return body(conf) or 0
    except (cfg.Error, CannotServe, *refusals) as error:
        print(complaint(name, error, files), file=sys.stderr)
        return failure


def configuration_files(conf: cfg.ConfigOpts) -> list[str]:
    """Where a configuration is from, for `complaint`."""
    return conf.config_file or [_NO_FILE]


def complaint(name: str, error: Exception, files: Sequence[str]) -> str:
    """The one line with which a program ends.

    :param files: where its configuration is from; none where the error says it.
    """
    text = f"{name}: {one_line(error)}"
    return f"{text} (configuration: {', '.join(files)})" if files else text


def configure(
    name: str,
    register: Iterable[Register] = (),
    argv: Sequence[str] | None = None,
    *,
    prepare: Register = lambda conf: None,
) -> cfg.ConfigOpts:
    """The configuration of a program, with every value checked; logs go where it says from now on.

    :param argv: command line without the program's name, None for that of the process.
    :raises oslo_config.cfg.Error: a file or a value cannot be used
    :raises CannotServe: so it is with an option that may be on the command line, or with the log
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    conf = _load(name, argv, prepare)
    for one in register:
        one(conf)
    configuration.check(conf)
    if conf.log_dir and not conf.log_file:
        # The default is the name of the program's file, which is not ours under a WSGI server.
        conf.set_default("log_file", f"{name}.log")
    try:
        log.setup(conf, configuration.PROJECT)
    except (OSError, log.LogConfigError) as error:
        raise CannotServe(
            f"The log cannot be written: {error}. Check log_dir, log_file and log_config_append."
        ) from error
    return conf


def log_to_stderr(conf: cfg.ConfigOpts) -> None:
    """Log to stderr by default, so that the answer of a command is alone on stdout."""
    conf.set_default("use_stderr", True)


def _end(code: int) -> NoReturn:
    """End the process without what the interpreter does at its end.

    Threads of libraries may still run, or hang in a call. The interpreter would wait for some of them
    (futurist), and abort where another one is writing to the log (``_enter_buffered_busy`` of CPython).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def one_line(error: Exception) -> str:
    """The text of an exception without line ends."""
    return " ".join(str(error).split())


def _load(name: str, argv: list[str], prepare: Register) -> cfg.ConfigOpts:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return configuration.load(argv, f"{name} {version()}", prepare)
    except SystemExit as end:
        if end.code != _BAD_VALUE:
            raise
        files = ", ".join(_config_files(argv)) or "the configuration files"
        complaint = one_line(ValueError(said.getvalue()))
        said.truncate(0)
        raise CannotServe(f"{complaint}. Correct it in {files} or on the command line.") from None
    finally:
        sys.stderr.write(said.getvalue())


def _config_files(argv: list[str]) -> list[str]:
    """The files that a command line names, else those where they are by default."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-file", action="append")
    named, _rest = parser.parse_known_args(argv)
    return named.config_file or cfg.find_config_files(project=configuration.PROJECT)
