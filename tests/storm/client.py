# SPDX-License-Identifier: Apache-2.0
"""A user of the service who attaches and detaches at random, and remembers what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus

from compute_shim.objects import State
from novaclient_usb.reason_codes import ReasonCode
from tests.storm.asking import Asker, Tally, Unexpected
from tests.storm.host import StormDriver
from tests.storm.oracle import Ledger

# Seconds.
_LONGEST_PAUSE = 0.3
_LONGEST_WAIT = 10.0

_TAKEN = (ReasonCode.DEVICE_TAKEN, ReasonCode.DEVICE_UNAVAILABLE, ReasonCode.DEVICE_DETACHING)


class Client:
    """A user with some servers on a host, which nobody else uses.

    :param driver: of that host.
    :param devices: ids of the devices of that host.
    :param over: set when it is time to stop.
    """

    def __init__(
        self,
        asker: Asker,
        servers: Sequence[str],
        devices: Sequence[str],
        driver: StormDriver,
        ledger: Ledger,
        tally: Tally,
        dice: random.Random,
        over: threading.Event,
    ) -> None:
        self._asker = asker
        self._servers = servers
        self._devices = devices
        self._driver = driver
        self._ledger = ledger
        self._tally = tally
        self._dice = dice
        self._over = over

    def run(self) -> None:
        """Attach, detach and list until it is over.

        :raises Unexpected: an answer that the service must not give
        """
        while not self._over.wait(self._dice.uniform(0, _LONGEST_PAUSE)):
            [deed] = self._dice.choices([self._attach, self._detach, self._list], [5, 3, 2])
            deed(self._dice.choice(self._servers))

    def _attach(self, server: str) -> None:
        device = self._dice.choice(self._devices)
        body = {"attachment": {"device_id": device}}
        answer = self._asker.ask("attach", "POST", f"/v1/servers/{server}/attachments", body)
        if answer.status == HTTPStatus.CONFLICT and answer.reason_code in _TAKEN:
            self._ledger.refused(server, device, answer.reason_code)
            return
        if answer.status != HTTPStatus.ACCEPTED or answer.body["attachment"]["server_id"] != server:
            raise Unexpected(f"attach {device} to {server}: {answer}")
        self._ledger.granted(server, device)
        if self._dice.random() < 0.5:
            self._wait_until_attached(server, device)

    def _wait_until_attached(self, server: str, device: str) -> None:
        """Wait, but not for long: whether all claims are attached is asked at the end."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while self._list(server).get(device) != State.ATTACHED:
            if time.monotonic() > deadline or self._over.wait(_LONGEST_PAUSE):
                self._tally.count("wait", "given up")
                return
        self._tally.count("wait", "attached")

    def _detach(self, server: str) -> None:
        held = self._ledger.devices_of(server)
        if not held:
            return
        device = self._dice.choice(held)
        self._ledger.giving_up(server, device)
        answer = self._asker.ask("detach", "DELETE", f"/v1/servers/{server}/attachments/{device}")
        if answer.status == HTTPStatus.ACCEPTED:
            self._ledger.taken_out(server, device)
        elif answer.status != HTTPStatus.NOT_FOUND:
            raise Unexpected(f"detach {device} from {server}: {answer}")
        elif not answer.repeated:
            self._ledger.lost(server, device)

    def _list(self, server: str) -> dict[str, str]:
        """The states of a server's devices, by their ids."""
        answer = self._asker.ask("list", "GET", f"/v1/servers/{server}/attachments")
        if answer.status != HTTPStatus.OK:
            raise Unexpected(f"list of {server}: {answer}")
        states = {item["device_id"]: item["device"]["state"] for item in answer.body["attachments"]}
        self._ledger.listed(server, states, self._driver.inside(server))
        return states
