# SPDX-License-Identifier: Apache-2.0
"""Records what the programs of RPC 1.0 and database revision 0003 say: writes the JSON files beside it.

It works on the tree of commit 35da2e8f81ff6355f39397a6a99c043a520ad009 only, with this folder added; on any
other tree it fails or records something else::

    python -m tests.functional.recorded.record

Ids, times and texts are the same at every run.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import itertools
import json
import tempfile
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import oslo_messaging
from oslo_context import context as oslo_context
from oslo_utils import timeutils

from compute_shim import conf as configuration
from compute_shim import rpc
from compute_shim.api import deploy
from compute_shim.conductor.manager import Manager
from compute_shim.db import models
from tests.functional.recorded import record_messages, record_sql
from tests.functional.world import World, tokens

COMMIT = "35da2e8f81ff6355f39397a6a99c043a520ad009"
_START = datetime.datetime(2026, 1, 1, 12)
_DIRECTORY = Path(__file__).parent


class Bus:
    """A message bus in this process, and what crosses it.

    :ivar what: what the next messages are; None: they are not kept.
    """

    def __init__(self, directory: Path) -> None:
        file = directory / "bus.conf"
        file.write_text("[DEFAULT]\ntransport_url = fake:///\n")
        self.transport = rpc.transport(configuration.load([f"--config-file={file}"]))
        self._send = self.transport._send
        self.transport._send = self._record
        self.what: str | None = None
        self.messages: list[dict[str, Any]] = []

    def _record(self, target: oslo_messaging.Target, context: Any, message: Any, **options: Any) -> Any:
        entry = {
            "what": self.what,
            "topic": target.topic,
            "server": target.server,
            "method": message["method"],
            "version": message["version"],
            "arguments": json.loads(json.dumps(message["args"])),
        }
        if self.what is not None:
            self.messages.append(entry)
        try:
            answer = self._send(target, context, message, **options)
        except Exception as error:
            kind = type(error)
            entry["raises"] = {"type": kind.__name__, "module": kind.__module__, "text": str(error)}
            raise
        if options.get("wait_for_reply"):
            entry["answer"] = answer
        return answer

    def keep(self, what: str, send: Callable[[], Any]) -> Any:
        """Keep the messages that something sends."""
        self.what = what
        try:
            return send()
        finally:
            self.what = None


@contextlib.contextmanager
def _same_at_every_run() -> Iterator[None]:
    """Ids that count, and a clock that stands until it is told to go on."""
    numbers, requests = itertools.count(1), itertools.count(1)
    ids = types.SimpleNamespace(uuid4=lambda: uuid.UUID(int=next(numbers) | 0xD << 112))

    def request_id() -> str:
        return f"req-{uuid.UUID(int=next(requests))}"

    timeutils.set_time_override(_START)
    with (
        mock.patch.object(models, "uuid", ids),
        mock.patch.object(oslo_context, "generate_request_id", request_id),
        tokens(),
    ):
        yield
    timeutils.clear_time_override()


def _messages() -> tuple[dict[str, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name, _same_at_every_run():
        world = World(f"sqlite:///{name}/usb.sqlite", Path(name))
        bus = Bus(Path(name))
        world.api = deploy.deploy(
            world.conf, world.db, world.nova, world.keystone, rpc.AgentClient(bus.transport)
        )
        server = rpc.server(bus.transport, rpc.CONDUCTOR_TOPIC, "controller", world.conductor)
        server.start()
        agent = record_messages.agent(world, bus, Path(name))
        conductor = record_messages.conductor(bus)
        server.stop()
        server.wait()
    return agent, conductor


def _signature(method: Callable[..., Any]) -> list[dict[str, Any]]:
    """The arguments that a message may have: all but self and the context."""
    wrapped = inspect.getclosurevars(method).nonlocals["func"]
    parameters = list(inspect.signature(wrapped).parameters.values())
    return [
        {"name": parameter.name, "required": parameter.default is parameter.empty}
        for parameter in parameters[2:]
    ]


def _write(name: str, content: dict[str, Any]) -> None:
    text = json.dumps({"commit": COMMIT, **content}, indent=1, ensure_ascii=False)
    (_DIRECTORY / name).write_text(f"{text}\n", encoding="utf-8")


def main() -> None:
    """Write the three files."""
    agent, conductor = _messages()
    methods = {name: _signature(getattr(Manager, name)) for name in ("sync", "report")}
    _write("agent_1_0.json", {"version": rpc.VERSION, **agent})
    _write(
        "conductor_1_0.json",
        {"version": Manager.target.version, "topic": rpc.CONDUCTOR_TOPIC, "methods": methods, **conductor},
    )
    _write("api_sql_1_0.json", record_sql.recorded(_same_at_every_run))


if __name__ == "__main__":
    main()
