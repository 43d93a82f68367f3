# SPDX-License-Identifier: Apache-2.0
"""How a program is told to end."""

import signal
import threading


def stop_event() -> threading.Event:
    """Is set by SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: stop.set())
    return stop
