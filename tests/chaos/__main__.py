# SPDX-License-Identifier: Apache-2.0
"""`make chaos`: things go wrong at random, and after each quiet moment everything must agree.

CHAOS_SECONDS says for how long (600), CHAOS_SEED what happens. With CHAOS_HOSTS=3 it happens to three hosts,
whose devices reach servers over the network. Exits with 1 at the first disagreement.
"""

from __future__ import annotations

import collections
import itertools
import random
import shutil
import sys
import time

from tests.chaos import settings

# isort: split
from compute_shim.cmd import native_threads  # noqa: F401  before anything imports oslo.messaging

# isort: split
from lab.cloud.site import LOG
from lab.host import Host, HostError
from lab.paths import RUN
from lab.stack import Stack
from lab.stack_nova import HOST, OTHER_HOSTS
from tests.chaos import many_hosts, one_host
from tests.chaos.steps import REFUSED, Steps

_STEPS = (2, 16)  # between two quiet moments
_LONGEST_PAUSE = 1.0  # seconds between two steps
# Far beyond what it takes to come to an agreement, under emulation and beside other work.
_PATIENCE = 300.0


class Disagreement(Exception):
    """Something is not as it has to be."""


class Run:
    """One run: it tells what happens, counts it, and knows how long it took to agree."""

    def __init__(self, steps: Steps, dice: random.Random) -> None:
        self.dice = dice
        self.steps = steps
        self.began = time.monotonic()
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.settled: list[float] = []

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() - self.began > settings.SECONDS

    def round(self) -> None:
        """Some steps, and then a quiet moment.

        :raises Disagreement: with what is wrong
        """
        for _ in range(self.dice.randint(*_STEPS)):
            if self.over:
                break
            self._step()
            time.sleep(self.dice.uniform(0, _LONGEST_PAUSE))
        self.steps.restart_all()
        self._wait_for_agreement()

    def _step(self) -> None:
        kind, deed = self.steps.choose()
        try:
            ended = deed()
        except (HostError, AssertionError) as error:
            raise Disagreement(f"{kind}: {error}") from error
        self._tell(f"{kind}: {ended}")
        self.counts[kind, REFUSED if ended.startswith(REFUSED) else "done"] += 1
        wrong = list(self.steps.never())
        if wrong:
            raise Disagreement("\n".join(wrong))

    def _wait_for_agreement(self) -> None:
        quiet = time.monotonic()
        self._tell("quiet")
        while True:
            try:
                wrong = list(self.steps.disagreements())
            except HostError as error:  # libvirtd is on its way
                wrong = [str(error)]
            waited = time.monotonic() - quiet
            if not wrong:
                self.settled.append(waited)
                self._tell(f"all agree after {waited:.1f} s")
                return
            if waited > _PATIENCE:
                raise Disagreement("\n".join(wrong))
            time.sleep(0.5)

    def _tell(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)

    def table(self) -> str:
        """How often each kind of step was done and refused."""
        lines = [f"{'':18} {'done':>6} {'refused':>8}"]
        for kind in sorted({kind for kind, _ in self.counts}):
            lines.append(f"{kind:18} {self.counts[kind, 'done']:6} {self.counts[kind, REFUSED]:8}")
        done, refused = (
            sum(count for (_, ended), count in self.counts.items() if (ended == REFUSED) == wanted)
            for wanted in (False, True)
        )
        lines.append(f"{'all':18} {done:6} {refused:8}")
        if self.settled:
            ordered = sorted(self.settled)
            lines.append(
                f"{len(ordered)} quiet moments, at each of which all agreed;"
                f" after {ordered[len(ordered) // 2]:.1f} s (median), {ordered[-1]:.1f} s (longest)"
            )
        return "\n".join(lines)


def _keep_logs() -> None:
    """The service's logs, and those of the hosts, which go with them."""
    kept = RUN / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(LOG, kept)
    hosts = [host for host in map(Host, (HOST, *OTHER_HOSTS)) if host.running()]
    for host, path in itertools.product(
        hosts, ("/var/log/usb-shim-agent.log", "/var/log/libvirt/qemu/*.log")
    ):
        text = host.run(f"tail -n 2000 {path}", check=False).stdout
        (kept / f"{host.name}-{path.strip('/').replace('/', '-')}").write_text(text)
    print(f"The logs are in {kept}", flush=True)


def main() -> int:
    print(
        f"CHAOS_SEED={settings.SEED} CHAOS_SECONDS={settings.SECONDS:.0f} CHAOS_HOSTS={settings.HOSTS}",
        flush=True,
    )
    stack = Stack(quick=True)
    try:
        stack.up()
        dice = random.Random(settings.SEED)
        run = Run(one_host.start(stack, dice) if settings.HOSTS == 1 else many_hosts.start(stack, dice), dice)
        try:
            while not run.over:
                run.round()
        except Disagreement as disagreement:
            print(f"CHAOS_SEED={settings.SEED}: not as it has to be:\n{disagreement}")
            _keep_logs()
            return 1
        finally:
            print(run.table(), flush=True)
        return 0
    finally:
        stack.down()


if __name__ == "__main__":
    sys.exit(main())
