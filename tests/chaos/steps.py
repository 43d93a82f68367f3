# SPDX-License-Identifier: Apache-2.0
"""What a run of chaos does, and how what it does is chosen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from keystoneauth1 import exceptions

#: Begins what a step says that the service has refused.
REFUSED = "refused"
#: What the service may answer at any time.
REFUSALS = (exceptions.Conflict, exceptions.NotFound, exceptions.ServiceUnavailable)

#: What is done; returns what it befell.
Deed = Callable[[], str]


class Steps(Protocol):
    """What happens to some hosts, their servers and the service."""

    def choose(self) -> tuple[str, Deed]:
        """Something that can happen now, and its kind."""

    def restart_all(self) -> None:
        """Mend what was broken, so that all can agree."""

    def never(self) -> Iterator[str]:
        """What is wrong now, of that which must not be at any moment."""

    def disagreements(self) -> Iterator[str]:
        """What is not as it has to be when all is quiet."""


def one_of(dice: random.Random, steps: Iterable[tuple[str, int, bool, Deed]]) -> tuple[str, Deed]:
    """One of the steps that can happen: kind, weight, whether it can, deed."""
    possible = [step for step in steps if step[2]]
    [(kind, _, _, deed)] = dice.choices(possible, [weight for _, weight, _, _ in possible])
    return kind, deed
