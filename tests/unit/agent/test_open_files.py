# SPDX-License-Identifier: Apache-2.0
"""Who has a device node open is seen on this machine's own kernel, and idle processes cost nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from compute_shim.agent import mapped_files
from compute_shim.agent.open_files import OpenFiles, processor_time

# Nodes that every machine has and hardly a program opens (Documentation/admin-guide/devices.txt of Linux).
FULL, ZERO = "char/1:7", "char/1:5"


@contextmanager
def process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has run the code, and sleeps until it is told to go on."""
    with subprocess.Popen([sys.executable, "-c", f"{code}"], stdin=PIPE, stdout=PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        try:
            yield started
        finally:
            started.kill()


WAIT = "print('ready', flush=True); sys.stdin.readline()"


def test_who_has_it_open() -> None:
    with process(f"import sys; file = open('/dev/full'); {WAIT}") as started:
        assert started.pid in OpenFiles().holders([FULL, ZERO])[FULL]


def test_another_node_of_the_same_number(tmp_path: Path) -> None:
    node = tmp_path / "harmless"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    with process(f"import sys; file = open('{node}'); {WAIT}") as started:
        node.unlink()
        assert started.pid in OpenFiles().holders([FULL])[FULL]


def test_what_is_mapped_is_held_though_it_is_closed() -> None:
    code = f"""
import mmap, os, sys
file = os.open("/dev/zero", os.O_RDWR)
kept = mmap.mmap(file, 4096, mmap.MAP_PRIVATE)
os.close(file)
os.closerange(3, 64)
{WAIT}"""
    with process(code) as started:
        assert "/dev/zero" not in [str(link.readlink()) for link in Path(f"/proc/{started.pid}/fd").iterdir()]
        assert started.pid in OpenFiles().holders([ZERO])[ZERO]


def test_a_program_whose_first_thread_has_ended() -> None:
    code = """
import ctypes, sys, threading, time
file = open("/dev/full")
threading.Thread(target=time.sleep, args=(600,)).start()
print('ready', flush=True)
ctypes.PyDLL(None).pthread_exit(None)"""
    with process(code) as started:
        files = OpenFiles()
        while Path(f"/proc/{started.pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
            pass
        assert started.pid in files.holders([FULL])[FULL]


def test_what_is_opened_later_is_seen_at_the_next_look() -> None:
    code = f"import sys; {WAIT}; file = open('/dev/full'); {WAIT}; file.close(); {WAIT}"
    with process(code) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        files = OpenFiles()
        for held in (False, True, False):
            assert (started.pid in files.holders([FULL]).get(FULL, [])) == held
            if held or not started.poll():
                started.stdin.write("\n")
                started.stdin.flush()
                started.stdout.readline()


def test_a_terminal_that_is_open_as_the_processs_own() -> None:
    code = """
import fcntl, os, sys, termios
os.setsid()
leader, terminal = os.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
own = os.open("/dev/tty", os.O_RDWR)
number = os.fstat(terminal).st_rdev
os.close(terminal)
print("ready", f"char/{os.major(number)}:{os.minor(number)}", flush=True)
sys.stdin.readline()"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as started:
        assert started.stdout is not None
        node = started.stdout.readline().split()[1]
        assert OpenFiles().holders([node])[node] == [started.pid]
        started.kill()


def test_our_own_files_are_nobodys() -> None:
    with open("/dev/full"):  # noqa: PTH123
        assert os.getpid() not in OpenFiles().holders([FULL]).get(FULL, [])


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    directory = tmp_path / "42/fd"
    directory.mkdir(parents=True)
    (directory / "3").symlink_to("/dev/full")
    (tmp_path / "self").mkdir()
    return tmp_path


def test_a_process_that_has_not_run_is_not_looked_at_again(proc: Path) -> None:
    ran = 1
    files = OpenFiles(proc, lambda pid: ran)
    assert files.holders([FULL]) == {FULL: [42]}
    (proc / "42/fd/3").unlink()
    (proc / "42/fd/4").symlink_to("/dev/zero")
    assert files.holders([FULL, ZERO]) == {FULL: [42]}
    ran = 2
    assert files.holders([FULL, ZERO]) == {ZERO: [42]}


def test_one_whose_time_cannot_be_told_is_always_looked_at(proc: Path) -> None:
    files = OpenFiles(proc, lambda pid: None)
    assert files.holders([FULL]) == {FULL: [42]}
    (proc / "42/fd/3").unlink()
    assert files.holders([FULL]) == {}


def test_what_ends_or_is_forbidden_while_it_is_looked_at(proc: Path) -> None:
    (proc / "43").mkdir()
    (proc / "44/fd").mkdir(parents=True)
    (proc / "44/fd/0").symlink_to("/nowhere")
    assert OpenFiles(proc, lambda pid: 1).holders([FULL]) == {FULL: [42]}


def test_threads_of_the_kernel_are_not_looked_at(proc: Path) -> None:
    """A program that the kernel has started is."""
    (proc / "2/task/2").mkdir(parents=True)
    (proc / "2/task/2/children").write_text("42 43 ")
    assert OpenFiles(proc, lambda pid: None).holders([FULL]) == {}
    (proc / "42/exe").symlink_to("/sbin/modprobe")
    assert OpenFiles(proc, lambda pid: None).holders([FULL]) == {FULL: [42]}


def test_a_process_that_hangs_is_waited_for_once(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is never let go of; what the others have mapped is seen nevertheless."""
    (proc / "43/fd").mkdir(parents=True)
    (proc / "43/maps").write_text("7f00-7f10 rw-p 00000000 00:06 9 /dev/zero\n")
    (proc / "43/map_files").mkdir()
    (proc / "43/map_files/7f00-7f10").symlink_to("/dev/zero")
    os.mkfifo(proc / "42/maps")
    monkeypatch.setattr(mapped_files, "_SECONDS", 0.5)
    files = OpenFiles(proc, lambda pid: None)
    assert files.holders([FULL, ZERO]) == {FULL: [42], ZERO: [43]}
    monkeypatch.setattr(mapped_files, "_SECONDS", 600)
    assert files.holders([FULL, ZERO]) == {FULL: [42], ZERO: [43]}


def test_the_time_of_a_process() -> None:
    with process(f"import sys; {WAIT}") as started:
        before = processor_time(started.pid)
        assert before is not None
        assert started.stdin is not None
        started.stdin.write("\n")
        started.stdin.flush()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        after = processor_time(started.pid)
        assert after is None or after > before
    assert processor_time(started.pid) is None
