# SPDX-License-Identifier: Apache-2.0
"""Asks one API or another until it is known what became of a request."""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import requests

# Seconds. Far beyond what an answer takes on a busy machine.
_ANSWER_SECONDS = 120.0
_PAUSE = (0.05, 0.5)


class Unexpected(Exception):
    """An answer that the service must not give."""


class Tally:
    """How often what happened; any number of threads count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def count(self, what: str, ended: str) -> None:
        """Once more."""
        with self._lock:
            self._counts[what, ended] += 1

    def __str__(self) -> str:
        lines = [f"{what:10} {ended:40} {count:6}" for (what, ended), count in sorted(self._counts.items())]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The first answer that says what became of a request.

    :param repeated: the request was sent before, and nobody knows what became of it then.
    """

    status: int
    body: Any
    repeated: bool

    @property
    def reason_code(self) -> str | None:
        """Of an error."""
        return self.body["error"]["reason_code"] if self.status >= HTTPStatus.BAD_REQUEST else None


class Asker:
    """A user, as `lab.stack_api` knows one.

    :param urls: of the APIs.
    """

    def __init__(
        self, project_id: str, roles: Sequence[str], urls: Sequence[str], tally: Tally, dice: random.Random
    ) -> None:
        self._headers = {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": f"user-of-{project_id}",
            "X-Project-Id": project_id,
            "X-Roles": ",".join(roles),
        }
        self._urls = urls
        self._tally = tally
        self._dice = dice

    def ask(self, what: str, method: str, path: str, body: Any = None) -> Answer:
        """What became of a request, sent again while no API can say.

        :param what: to count it by.
        :raises Unexpected: an error of the service's that is not 503
        """
        repeated = False
        while True:
            answer = self._try(what, method, self._dice.choice(self._urls) + path, body, repeated)
            if answer is not None:
                return answer
            repeated = True
            time.sleep(self._dice.uniform(*_PAUSE))

    def _try(self, what: str, method: str, url: str, body: Any, repeated: bool) -> Answer | None:
        try:
            response = requests.request(
                method, url, json=body, headers=self._headers, timeout=_ANSWER_SECONDS
            )
        except requests.RequestException as error:
            self._tally.count(what, type(error).__name__)
            return None
        # The API was killed between two headers: http.client takes such an answer for a whole one.
        if "Content-Length" not in response.headers:
            self._tally.count(what, f"{response.status_code}, cut off")
            return None
        answer = Answer(response.status_code, response.json() if response.content else None, repeated)
        self._tally.count(what, f"{answer.status} {answer.reason_code or ''}")
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unexpected(f"{method} {url}: {answer}")
        return answer
