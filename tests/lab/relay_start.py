# SPDX-License-Identifier: Apache-2.0
"""Starts a relay in a lab host, as an agent would: a process of its own, without root or any capability.

In the host, with Debian's Python:  relay_start.py NAME device NODE OPTION...
                                    relay_start.py NAME server SOCKET OPTION...

Prints the process id, and the port of a relay of a device. Its log is /run/usb-shim/NAME.log, its state
/run/usb-shim/NAME.state.
"""

import os
import pathlib
import socket
import subprocess
import sys

RUN = pathlib.Path("/run/usb-shim")
NOBODY = 65534

name, mode, path, *options = sys.argv[1:]
RUN.mkdir(mode=0o755, exist_ok=True)
os.chown(RUN, NOBODY, NOBODY)
if mode == "device":
    node = os.open(path, os.O_RDWR)
    listening = socket.create_server(("", 0))
    descriptors = {"--node-fd": node, "--listen-fd": listening.fileno()}
    port = listening.getsockname()[1]
else:
    pathlib.Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    descriptors = {"--listen-fd": listening.fileno()}
    port = 0
arguments = [word for option, number in descriptors.items() for word in (option, str(number))]
with (RUN / f"{name}.log").open("ab") as log:
    process = subprocess.Popen(
        [
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"),
            *("--inh-caps=-all", "--no-new-privs", "/usr/bin/python3", "-m", "compute_shim.cmd.relay", mode),
            *(*arguments, f"--state={RUN}/{name}.state", *options),
        ],
        pass_fds=tuple(descriptors.values()),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/run/relay"},
    )
print(process.pid, port)
