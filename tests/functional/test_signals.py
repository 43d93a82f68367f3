# SPDX-License-Identifier: Apache-2.0
"""Signals, sent to the processes that they are for."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.programs import PATIENCE, Program, create_schema

# Takes signals as our programs do, without what takes them a second to import.
_TINY = """
import signal, threading
from compute_shim.signals import Signals
signals = Signals()
print("ready", flush=True)
while signals.wait() != signal.SIGTERM:
    pass
signals.ignore()
"""

# The interpreter waits at its end for what futurist runs.
_HANGING = """
import sys, time
from compute_shim.cmd import native_threads, program
import futurist
def body(conf, daemon):
    futurist.ThreadPoolExecutor().submit(time.sleep, 3600)
    print("ready", flush=True)
    daemon.wait()
    print("no line end", end="")
sys.argv = ["program"]
program.serve("program", body)
"""


def _configuration(directory: Path, more: str = "") -> str:
    database = create_schema(directory, f"sqlite:///{directory}/usb.sqlite")
    return f"[DEFAULT]\ntransport_url = fake:///\n{more}\n{database}"


def test_two_quick_signals_end_every_process() -> None:
    command = [sys.executable, "-c", _TINY]
    for _attempt in range(40):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            assert _end(process) == 0


def test_a_storm_of_signals_loses_none_of_those_that_matter() -> None:
    with subprocess.Popen([sys.executable, "-c", _TINY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in [signal.SIGHUP, signal.SIGUSR2, signal.SIGINT] * 1000:
            process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert _end(process) == 0


def _end(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_a_thread_of_a_library_that_hangs_does_not_keep_a_program_from_ending() -> None:
    with subprocess.Popen([sys.executable, "-c", _HANGING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert _end(process) == 0
        assert process.stdout.read().endswith("no line end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_conductor_ends_at_two_quick_signals(
    number: signal.Signals, start: Callable[[str, str], Program], tmp_path: Path
) -> None:
    running = start("conductor", _configuration(tmp_path))
    running.logs("Serving agents")
    running.process.send_signal(number)
    running.process.send_signal(number)
    assert running.end() == 0
    assert running.errors == ""


def test_sighup_changes_the_level_of_the_log(start: Callable[[str, str], Program], tmp_path: Path) -> None:
    running = start("conductor", _configuration(tmp_path))
    running.logs("Serving agents")
    running.configure(_configuration(tmp_path, "debug = true"))
    running.process.send_signal(signal.SIGHUP)
    running.logs("DEFAULT.debug changed")
    running.logs("Configuration reloaded")
    assert running.terminate() == 0


def test_sighup_with_a_bad_value_changes_nothing(
    start: Callable[[str, str], Program], tmp_path: Path
) -> None:
    running = start("conductor", _configuration(tmp_path))
    running.logs("Serving agents")
    running.configure(_configuration(tmp_path, "debug = perhaps"))
    running.process.send_signal(signal.SIGHUP)
    running.logs("The configuration is not reloaded")
    running.configure(_configuration(tmp_path, "debug = true"))
    running.process.send_signal(signal.SIGHUP)
    running.logs("Configuration reloaded")
    assert running.terminate() == 0


def test_sigusr2_writes_a_report_without_secrets(
    start: Callable[[str, str], Program], tmp_path: Path
) -> None:
    running = start("conductor", _configuration(tmp_path) + "[nova]\nauth_type = none\npassword = s3cret\n")
    running.logs("Serving agents")
    running.process.send_signal(signal.SIGUSR2)
    running.wait_until(lambda: "Configuration of usb-shim-conductor" in running.errors)
    running.wait_until(lambda: "deleted_server_interval = 60" in running.errors)
    running.process.send_signal(signal.SIGUSR2)
    running.wait_until(lambda: running.errors.count("Guru Meditation") == 2)
    assert running.terminate() == 0
    assert "usb.sqlite" not in running.errors
    assert "s3cret" not in running.errors


def test_four_conductors_need_no_more_connections_than_mariadb_has(
    start: Callable[[str, str], Program], tmp_path: Path
) -> None:
    """MariaDB takes 151; a conductor has one for each of its threads, unless the operator wants more."""
    running = start("conductor", _configuration(tmp_path))
    running.logs("Serving agents")
    running.process.send_signal(signal.SIGUSR2)
    running.wait_until(lambda: "max_pool_size = 8" in running.errors)
    running.wait_until(lambda: "executor_thread_pool_size = 8" in running.errors)
    assert running.terminate() == 0

    options = "[DEFAULT]\nexecutor_thread_pool_size = 16\n[database]\nmax_pool_size = 17\n"
    running = start("conductor", _configuration(tmp_path) + options)
    running.logs("Serving agents")
    running.process.send_signal(signal.SIGUSR2)
    running.wait_until(lambda: "executor_thread_pool_size = 16" in running.errors)
    running.wait_until(lambda: "max_pool_size = 17" in running.errors)
    assert running.terminate() == 0


def test_the_agent_takes_new_rules_at_sighup(start: Callable[[str, str], Program]) -> None:
    text = "[DEFAULT]\ntransport_url = fake:///\n[usb]\nshield = false\ndevice_spec = {}\n"
    running = start("agent", text.format('{"port": "1-1"}'))
    running.logs("Serving conductor and API")
    running.configure(text.format('{"colour": "red"}'))
    running.process.send_signal(signal.SIGHUP)
    running.logs("The rules for devices stay as they were: [usb] device_spec: unknown key 'colour'")
    running.configure(text.format('{"port": "1-2"}'))
    running.process.send_signal(signal.SIGHUP)
    running.logs("Rules of [usb] device_spec: 1")
    assert running.terminate() == 0
