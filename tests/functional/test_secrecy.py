# SPDX-License-Identifier: Apache-2.0
"""A property: whatever happens to devices that are not shared with a project, it learns nothing of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from oslo_utils import timeutils

from compute_shim.conductor.serving import Serving
from compute_shim.liveness import Window
from tests.functional.learned import all_that_another_gets
from tests.functional.world import DEMO_PROJECT, SERVERS, World, tokens

DEMO, DEMO2, OTHER = (SERVERS[name].id for name in ("DEMO", "DEMO2", "OTHER"))
SECRET = "/srv/secret"


class Hidden:
    """A cloud in which two sticks, of one kind, are shared with the project of the token ``demo`` only."""

    def __init__(self, directory: Path) -> None:
        self.world = World(f"sqlite:///{directory}/usb.sqlite", directory)
        self.plug("STICK1", "STICK3")
        self.first, self.second, self.common = map(self.world.device_id, ("STICK1", "STICK3", "STICK2"))
        # Another one is everybody's: ``demo`` has it, and ``other`` is in line for it.
        assert self.world.attach("demo", DEMO2, self.common).status_int == 202
        assert self.join("other", OTHER, device_id=self.common).status_int == 202

    def plug(self, *sticks: str) -> None:
        unshared: Any = {"shared": False, "projects": [DEMO_PROJECT], "kind": "dongle", "handover": "hold"}
        self.world.sync(STICK2={}, **dict.fromkeys(sticks, unshared))

    def change(self, **fields: Any) -> None:
        self.world.request("admin", "PATCH", f"/v1/devices/{self.first}", {"device": fields})

    def share(self, method: str) -> None:
        self.world.request("admin", method, f"/v1/devices/{self.first}/projects/{DEMO_PROJECT}")

    def report(self, state: str, code: str | None = None) -> None:
        self.world.report(self.first, state, SECRET if code else None, code)

    def join(self, token: str, server_id: str, **wanted: str) -> Any:
        return self.world.request(token, "POST", f"/v1/servers/{server_id}/queue", {"entry": wanted})

    def leave(self) -> None:
        for entry in self.world.request("demo", "GET", "/v1/queue").json["queue"]:
            self.world.request("demo", "DELETE", f"/v1/servers/{entry['server_id']}/queue/{entry['id']}")

    def serve(self) -> None:
        world = self.world
        up = Window.now(world.conf)
        Serving(world.db, world.nudger, world.keystone.limits, None, lambda: up, lambda *_: True).serve()

    def lease(self) -> None:
        path = f"/v1/servers/{DEMO}/attachments/{self.first}"
        self.world.request("demo", "PATCH", path, {"attachment": {"lease": 3600}})

    def learned(self) -> list[Any]:
        """Everything that the other project can read of the first one, and of what is its own."""
        return [
            *(self.world.request("other", "GET", f"/v1/{path}").text for path in ("queue", "events")),
            *all_that_another_gets(self.world, self.first),
        ]


# Each may be refused.
ACTS: dict[str, Callable[[Hidden], Any]] = {
    "attach": lambda it: it.world.attach("demo", DEMO, it.first),
    "attach the second": lambda it: it.world.attach("demo", DEMO, it.second),
    "attach one of the kind": lambda it: it.world.attach_kind("demo", DEMO2, "dongle"),
    "is attached": lambda it: it.report("attached"),
    "waits": lambda it: it.report("waiting", "server_off"),
    "fails": lambda it: it.report("failed", "hypervisor_error"),
    "detach": lambda it: [it.world.detach("demo", server, it.first) for server in (DEMO, DEMO2)],
    "is free": lambda it: it.report("available"),
    "get in line": lambda it: it.join("demo", DEMO2, device_id=it.first),
    "get in line for the kind": lambda it: it.join("demo", DEMO, kind="dongle"),
    "leave the lines": Hidden.leave,
    "serve the lines": Hidden.serve,
    "lease": Hidden.lease,
    "describe": lambda it: it.change(description="mine"),
    "disable": lambda it: it.change(enabled=False),
    "enable": lambda it: it.change(enabled=True),
    "of another kind": lambda it: it.change(kind="other-dongle"),
    "as its rule says": lambda it: it.change(kind=None, shared=None),
    "share no longer": lambda it: it.share("DELETE"),
    "share": lambda it: it.share("PUT"),
    "release": lambda it: it.world.request("admin", "POST", f"/v1/devices/{it.first}/release"),
    "pull out": lambda it: it.plug("STICK3"),
    "plug in": lambda it: it.plug("STICK1", "STICK3"),
}


@contextlib.contextmanager
def standing_clock() -> Iterator[None]:
    """Time goes on only between acts: answers do not differ by when they were asked for."""
    timeutils.set_time_override()
    try:
        yield
    finally:
        timeutils.clear_time_override()


def act(hidden: Hidden, name: str) -> None:
    timeutils.advance_time_seconds(2)
    ACTS[name](hidden)


@hypothesis.settings(max_examples=10)
@hypothesis.given(
    before=st.lists(st.sampled_from(sorted(ACTS)), max_size=6),
    after=st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=6),
)
def test_another_project_learns_nothing(before: list[str], after: list[str]) -> None:
    with tokens(), standing_clock(), tempfile.TemporaryDirectory() as directory:
        hidden = Hidden(Path(directory))
        for name in before:
            act(hidden, name)
        known = hidden.learned()
        for name in after:
            act(hidden, name)
        assert hidden.learned() == known


def test_each_act_does_something(tmp_path: Path) -> None:
    """So that the property does not hold because everything is refused."""
    order = """attach the second; attach one of the kind; detach; is free; attach; is attached; lease
        get in line; describe; detach; is free; release; serve the lines; waits; fails
        get in line for the kind; leave the lines; disable; enable; of another kind; as its rule says
        share no longer; share; pull out; plug in"""
    with tokens(), standing_clock():
        hidden = Hidden(tmp_path)

        def everything() -> list[str]:
            paths = ("devices", "queue", f"devices/{hidden.first}", f"devices/{hidden.first}/events")
            return [hidden.world.request("admin", "GET", f"/v1/{path}").text for path in paths]

        names = [name.strip() for name in order.replace("\n", ";").split(";")]
        assert set(names) == set(ACTS)
        for name in names:
            seen = everything()
            act(hidden, name)
            assert everything() != seen, name
