# SPDX-License-Identifier: Apache-2.0
"""How the programs of RPC 1.0 read what they are sent: test data, not to be edited.

Copied verbatim from compute_shim/objects.py, rpc.py, agent/service.py and conductor/records.py at commit
35da2e8f81ff6355f39397a6a99c043a520ad009, the last one with RPC 1.0 on both sides. Tests use it to prove that
those programs understand messages of later versions. Only the docstrings of the dataclasses are shorter, and
`claims` and `claim_changed` are one expression each of ``ConductorClient.sync`` and
``Endpoint.claim_changed``.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
from oslo_log import log

LOG = log.getLogger(__name__)

# compute_shim/db/models.py

TEXT_LENGTH = 255
REASON_LENGTH = 1000

# compute_shim/objects.py

NOT_ALLOWED = "not allowed by device_spec"


class State(enum.StrEnum):
    """The states of a device, as people see them (column ``state``)."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    WAITING = "waiting"
    DETACHING = "detaching"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class Waiting(enum.StrEnum):
    """What a claim waits for, as people see it (column ``state_reason``)."""

    UNPLUGGED = "unplugged"
    SERVER_OFF = "the server is off"
    OTHER_HOST = "the server is on another host"
    SHELVED = "the server is shelved"
    BUSY = "the server is being moved or saved"


@dataclasses.dataclass(frozen=True)
class Plugged:
    """A USB device as it sits in its port."""

    name: str
    vendor_id: str
    product_id: str
    vendor: str
    product: str
    serial: str
    device_class: str
    speed: str
    port: str
    bus: int
    device: int


@dataclasses.dataclass(frozen=True)
class Device(Plugged):
    """A plugged device that the agent knows again, and reports."""

    identity: str
    blocked_reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the database wants of one known device of a host."""

    device_id: str
    identity: str
    port: str
    generation: int
    server_id: str | None = None
    state: str | None = None
    reason: str | None = None

    @property
    def ending(self) -> bool:
        """A server gave the device back, and no agent has said yet that it is free."""
        return self.state == State.DETACHING


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a claim."""

    device_id: str
    generation: int
    state: str
    reason: str | None = None


# compute_shim/rpc.py and compute_shim/agent/service.py


def claims(answer: Any) -> list[Claim]:
    """What an old agent makes of the answer to ``sync``."""
    return [Claim(**claim) for claim in answer]


def claim_changed(claim: dict[str, Any]) -> Claim:
    """What an old agent makes of the argument of ``claim_changed``."""
    return Claim(**claim)


# compute_shim/conductor/records.py

# 127 devices on a bus (USB 2.0 specification, 9.4.6); hosts have a few buses.
_MOST_RECORDS = 1024
_LARGEST_INTEGER = 2**31 - 1

# PostgreSQL stores no NUL, and no database a lone surrogate; nothing else needs control characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_TEXT = {"type": "string"}
_REASON = {"type": ["string", "null"]}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": _LARGEST_INTEGER}
_KEY = {"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH}


def _matching(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": rf"^(?:{pattern})\Z"}


def _schema(fields: dict[str, Any]) -> jsonschema.Draft202012Validator:
    # A newer agent may say more than this conductor knows.
    return jsonschema.Draft202012Validator(
        {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": True}
    )


_DEVICE = _schema(
    {
        "identity": _KEY,
        "name": _TEXT,
        "vendor_id": _matching("[0-9a-f]{4}"),
        "product_id": _matching("[0-9a-f]{4}"),
        "vendor": _TEXT,
        "product": _TEXT,
        "serial": _TEXT,
        "device_class": _matching("[0-9a-f]{2}"),
        "speed": _matching("[0-9.]{1,16}"),
        "port": _matching("(?=.{1,64}$)[0-9]+-[0-9]+([.][0-9]+)*"),
        "bus": _NUMBER,
        "device": _NUMBER,
        "blocked_reason": _REASON,
    }
)

_OUTCOME = _schema(
    {
        "device_id": _KEY,
        "generation": _NUMBER,
        "state": {"enum": [State.ATTACHED, State.WAITING, State.FAILED, State.DETACHING, State.AVAILABLE]},
        "reason": _REASON,
    }
)


def text(value: Any, length: int = TEXT_LENGTH) -> str:
    """Text that every database holds: one line, printable, no longer than so many characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))[:length]


def host(value: Any) -> str:
    """The name of a host.

    :raises ValueError: it cannot be one
    """
    if not isinstance(value, str) or not value.strip() or text(value) != value:
        raise ValueError(f"not the name of a host: {text(repr(value))}")
    return value


def problems(values: Any) -> list[str]:
    """What the operator of a host has to mend, as far as there is room for it."""
    if not isinstance(values, list):
        return []
    kept: list[str] = []
    for value in values:
        kept.append(text(value, REASON_LENGTH))
        if len("\n".join(kept)) > REASON_LENGTH:
            return kept[:-1]
    return kept


def devices(values: Any) -> list[Device]:
    """The devices that an agent sees, each identity once."""
    found: dict[str, Device] = {}
    for value in _valid(_DEVICE, values):
        identity = value["identity"]
        if text(identity) != identity or identity.strip() != identity:
            LOG.warning("Ignoring a device whose identity cannot be stored: %r", identity)
        elif identity in found:
            LOG.warning("Ignoring a second device of the identity %r", identity)
        else:
            found[identity] = Device(**_fields(Device, value))
    return list(found.values())


def outcomes(values: Any) -> list[Outcome]:
    """What an agent says became of claims."""
    return [Outcome(**_fields(Outcome, value)) for value in _valid(_OUTCOME, values)]


def _valid(schema: jsonschema.Draft202012Validator, values: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(values, list):
        LOG.warning("Ignoring what is not a list: %s", text(repr(values)))
        return
    if len(values) > _MOST_RECORDS:
        LOG.warning("Ignoring all but the first %s of %s records", _MOST_RECORDS, len(values))
    for value in values[:_MOST_RECORDS]:
        error = next(schema.iter_errors(value), None)
        if error is None:
            yield value
        else:
            LOG.warning("Ignoring a bad record: %s: %s", error.json_path, text(error.message))


def _fields(kind: type[Device | Outcome], value: dict[str, Any]) -> dict[str, Any]:
    fields = {field.name: value[field.name] for field in dataclasses.fields(kind)}
    return {name: _stored(name, item) for name, item in fields.items()}


def _stored(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return text(value, REASON_LENGTH if name in ("reason", "blocked_reason") else TEXT_LENGTH)
    return int(value) if isinstance(value, float) else value
