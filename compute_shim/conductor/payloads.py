# SPDX-License-Identifier: Apache-2.0
"""Validation of agent reports.

An agent runs on a host with untrusted guests and passes on strings of USB devices. An invalid record is
dropped and logged without affecting the others. Text that is too long is truncated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any

import jsonschema
from oslo_log import log

from compute_shim import legacy_reasons, wire
from compute_shim.db.models import REASON_LENGTH, TEXT_LENGTH
from compute_shim.objects import Claim, ClaimStatus, Device, Handover, ReasonCode, Server, State
from compute_shim.rpc import CHANNELS_SINCE
from compute_shim.text import UNPRINTABLE
from novaclient_usb import kinds
from novaclient_usb.reason_codes import describe

LOG = log.getLogger(__name__)

# 127 devices on a bus (USB 2.0 specification, 9.4.6); hosts have a few buses.
_MOST_RECORDS = 1024
# Conductors of another version may make something else of the same message.
_VERSION = metadata.version("openstack-usb-passthrough")
_LARGEST_INTEGER = 2**31 - 1
# Why a claim waits whose server is on another host -> the first version that knows this reason.
_ELSEWHERE_SINCE: dict[str, wire.Version] = {
    ReasonCode.KIND_NOT_FREE: (1, 3),
    ReasonCode.NO_NETWORK_TRANSPORT: CHANNELS_SINCE,
}

# PostgreSQL stores no NUL, and no database a lone surrogate; nothing else needs control characters.
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")

_TEXT = {"type": "string"}
_REASON = {"type": ["string", "null"]}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": _LARGEST_INTEGER}
# What the kernel calls its devices has no blanks, and no more than ASCII.
_PLACE = {"type": ["string", "null"], "pattern": rf"^[!-~]{{1,{TEXT_LENGTH}}}\Z"}
# Boot, place and number (`compute_shim.agent.inventory`): no more than the column holds.
_PLUG_ID = r"^[0-9a-f-]{1,36}/[0-9.]{1,16}/[0-9]{1,20}\Z"
_KEY = {"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH}
# A name or an address. It goes into the command line of another host.
_ADDRESS = re.compile(rf"[A-Za-z0-9:_][A-Za-z0-9.:_-]{{0,{TEXT_LENGTH - 1}}}")


def _matching(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": rf"^(?:{pattern})\Z"}


# A newer agent may have codes that this conductor does not know.
_CODE = {"type": ["string", "null"], "pattern": r"^[a-z0-9_]{1,64}\Z"}


def _schema(fields: dict[str, Any], later: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """An object with all the fields of RPC 1.0, and perhaps those that came later, known here or not."""
    return jsonschema.Draft202012Validator(
        {
            "type": "object",
            "properties": fields | later,
            "required": list(fields),
        }
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
    },
    {
        "blocked_code": _CODE,
        "socket": _PLACE,
        "plug_id": {"type": ["string", "null"], "pattern": _PLUG_ID},
        "device_id": {"type": ["string", "null"]},
        "serial_shared": {"type": ["boolean", "null"]},
        "follow": {"type": ["string", "null"], "maxLength": 16},
        "shared": {"type": ["boolean", "null"]},
        "projects": {"type": ["array", "null"], "items": _matching("[a-zA-Z0-9-]{1,64}"), "maxItems": 1000},
        "handover": {"enum": [*Handover, None]},
        "rule": {"type": ["string", "null"]},
        "over_network": {"type": ["boolean", "null"]},
        "guessed": {"type": ["boolean", "null"]},
        "kind": {"type": ["string", "null"], "pattern": rf"^({kinds.PATTERN})?\Z"},
    },
)

_OUTCOME = _schema(
    {
        "device_id": _KEY,
        "generation": _NUMBER,
        "state": {
            "enum": [
                State.ATTACHED,
                State.WAITING,
                State.FAILED,
                State.DETACHING,
                State.AVAILABLE,
                State.UNAVAILABLE,
            ]
        },
        "reason": _REASON,
    },
    {
        "reason_code": _CODE,
        "wiped": {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        "port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    },
)


_SERVER = _schema(
    {
        "uuid": _matching("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        "running": {"type": "boolean"},
    },
    {"usb_ports": {"type": ["integer", "null"], "minimum": 0, "maximum": _LARGEST_INTEGER}},
)


def digest(*told: Any) -> str:
    """The same for two messages only if they say the same, unchecked as they are."""
    canonical = json.dumps([_VERSION, *told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


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
    """Problems on a host that its operator has to fix, truncated to the size of the column."""
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
            found[identity] = _device(value)
    return list(found.values())


def _device(value: dict[str, Any]) -> Device:
    code = value.get("blocked_code") or legacy_reasons.code_of(value["blocked_reason"], ReasonCode.HOST_USE)
    blocked = value["blocked_reason"]
    if code == ReasonCode.NOT_OFFERED:
        blocked = legacy_reasons.NOT_OFFERED
    elif code is not None:
        blocked = blocked or describe(code)
    return wire.decode(Device, _stored(value | {"blocked_code": code, "blocked_reason": blocked}))


def servers(values: Any, version: str) -> dict[str, Server] | None:
    """By their UUIDs, all servers that have a domain on a host; None if that is not known.

    Of the host of an agent that speaks RPC 1.0 nothing is known any more, whatever a later one once told.
    """
    if wire.number(version) == wire.FIRST:
        return {}
    if not isinstance(values, list):
        return None
    found = {value["uuid"]: wire.decode(Server, value) for value in _valid(_SERVER, values)}
    # A server must not appear to be gone because its record was invalid.
    return found if len(found) == len(values) else None


def relay_address(value: Any) -> str | None:
    """Where other hosts reach the relays of a host; None if it has none, or what it tells is no address."""
    return value if isinstance(value, str) and _ADDRESS.fullmatch(value) else None


def outcomes(values: Any) -> list[ClaimStatus]:
    """The results of claims that an agent reports."""
    return [_outcome(value) for value in _valid(_OUTCOME, values)]


def _outcome(value: dict[str, Any]) -> ClaimStatus:
    otherwise = ReasonCode.RESET_FAILED if value["state"] == State.AVAILABLE else ReasonCode.HYPERVISOR_ERROR
    code = value.get("reason_code") or legacy_reasons.code_of(value["reason"], otherwise)
    return wire.decode(ClaimStatus, _stored(value | {"reason_code": code}))


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


def _stored(value: dict[str, Any]) -> dict[str, Any]:
    """The values in the form that every database stores."""
    return {name: _storable(name, item) for name, item in value.items()}


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return text(value, REASON_LENGTH if name in ("reason", "blocked_reason", "rule") else TEXT_LENGTH)
    return int(value) if isinstance(value, float) else value


def claims(values: Iterable[Claim], version: str) -> list[dict[str, Any]]:
    """Claims for an agent of this version of the RPC; on devices of other hosts if it knows those."""
    spoken = wire.number(version)
    return [claim(it, version) for it in values if it.address is None or spoken >= CHANNELS_SINCE]


def claim(value: Claim, version: str) -> dict[str, Any]:
    """A claim for an agent that speaks this version of the RPC."""
    spoken = wire.number(version)
    if spoken < _ELSEWHERE_SINCE.get(value.reason_code or "", wire.FIRST):
        # Such an agent keeps what it knows as the word of Nova, and would correct anything else.
        code = ReasonCode.SERVER_ON_OTHER_HOST
        value = dataclasses.replace(value, reason_code=code, reason=describe(code))
    if spoken == wire.FIRST:
        value = dataclasses.replace(value, reason=legacy_reasons.text_of(value.reason_code, value.reason))
    return wire.encode(value, spoken)
