# SPDX-License-Identifier: Apache-2.0
"""Runs a command in a lab host, with the standard input of this one.

python -m tests.deploy.enter_lab HOST COMMAND...
"""

from __future__ import annotations

import sys

from lab.host import Host, command


def main() -> int:
    """Run it; returns its exit status."""
    streams = {command.STDOUT: sys.stdout.buffer, command.STDERR: sys.stderr.buffer}
    name, *words = sys.argv[1:]
    return Host(name).stream(words, lambda kind, data: streams[kind].write(data), sys.stdin.buffer.read())


if __name__ == "__main__":
    sys.exit(main())
