# SPDX-License-Identifier: Apache-2.0
"""What evidence is enough to release a claim, and to say where its server is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_shim import nova
from compute_shim.conductor.decision import (
    Claim,
    Evidence,
    Locate,
    Nothing,
    NovaSays,
    Release,
    decide,
)
from compute_shim.objects import SERVER_ABSENT, ReasonCode

HOST = "compute1"
servers = st.builds(
    nova.Server,
    id=st.just("server"),
    project_id=st.just("demo"),
    host_id=st.sampled_from(["", nova.host_id("demo", HOST), nova.host_id("demo", "compute2")]),
    locked=st.booleans(),
    busy=st.booleans(),
)
codes = st.none() | st.sampled_from(SERVER_ABSENT) | st.sampled_from(ReasonCode)
claims = st.builds(Claim, host=st.just(HOST), reason_code=codes)
bystanders = {name: st.booleans() for name in ("knows_host", "host_up", "tells_domains", "domain_seen")}
evidences = st.builds(Evidence, nova=servers | st.sampled_from(NovaSays), **bystanders)

GONE = Evidence(NovaSays.NO_RECORD, knows_host=True, host_up=True, tells_domains=True, domain_seen=False)
WAITS = Claim(HOST, ReasonCode.DOMAIN_ABSENT)


@pytest.mark.parametrize("code", SERVER_ABSENT)
def test_a_server_is_gone_when_nova_and_the_agent_say_so(code: ReasonCode) -> None:
    assert decide(Claim(HOST, code), GONE) == Release()


@pytest.mark.parametrize(
    "contradiction",
    [{"knows_host": False}, {"host_up": False}, {"domain_seen": True}, {"nova": NovaSays.UNCLEAR}],
    ids=str,
)
def test_each_part_of_the_proof_is_needed(contradiction: dict[str, Any]) -> None:
    assert decide(WAITS, dataclasses.replace(GONE, **contradiction)) == Nothing()


@given(claim=claims, evidence=evidences)
def test_one_contradiction_keeps_the_claim(claim: Claim, evidence: Evidence) -> None:
    if decide(claim, evidence) != Release():
        return
    assert isinstance(evidence.nova, NovaSays)
    for contradiction in (
        {"domain_seen": True},
        {"nova": NovaSays.UNCLEAR},
        {"nova": nova.Server("server", "demo", "", locked=False)},
    ):
        assert decide(claim, dataclasses.replace(evidence, **contradiction)) != Release()


@given(claim=claims, evidence=evidences)
def test_no_record_proves_nothing_of_a_host_that_is_down_or_not_novas(
    claim: Claim, evidence: Evidence
) -> None:
    evidence = dataclasses.replace(evidence, nova=NovaSays.NO_RECORD)
    if not (evidence.host_up and evidence.knows_host):
        assert decide(claim, evidence) == Nothing()


@given(claim=claims, evidence=evidences)
def test_the_agent_of_a_host_that_is_up_must_miss_the_domain(claim: Claim, evidence: Evidence) -> None:
    if claim.reason_code not in SERVER_ABSENT:
        assert decide(claim, dataclasses.replace(evidence, host_up=True)) == Nothing()


@given(evidence=evidences)
def test_an_old_agent_that_saw_the_server_off_saw_its_domain(evidence: Evidence) -> None:
    old = dataclasses.replace(evidence, host_up=True, tells_domains=False)
    assert decide(Claim(HOST, ReasonCode.SERVER_OFF), old) != Release()


@pytest.mark.parametrize("code", [None, ReasonCode.SERVER_OFF, ReasonCode.UNPLUGGED])
def test_a_deleted_server_of_a_host_that_is_down(code: ReasonCode | None) -> None:
    down = Evidence(NovaSays.DELETED, knows_host=False, host_up=False, tells_domains=False, domain_seen=False)
    assert decide(Claim(HOST, code), down) == Release()


@given(claim=claims, evidence=evidences, server=servers)
def test_a_server_that_nova_shows_is_located_at_most(
    claim: Claim, evidence: Evidence, server: nova.Server
) -> None:
    decision = decide(claim, dataclasses.replace(evidence, nova=server))
    assert decision != Release()
    if server.busy:
        assert decision == Nothing()
    if isinstance(decision, Locate):
        assert decision.code in SERVER_ABSENT
        assert decision.code != claim.reason_code


@pytest.mark.parametrize(
    ("told", "host", "code"),
    [
        # While a resize waits to be confirmed, the first host has the server as well, switched off.
        (ReasonCode.SERVER_OFF, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        (ReasonCode.SERVER_OFF, HOST, None),
        (ReasonCode.SERVER_ON_OTHER_HOST, "", ReasonCode.SERVER_SHELVED),
        (ReasonCode.SERVER_SHELVED, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        (ReasonCode.DOMAIN_ABSENT, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        # Nova has not said more: a stopped server may have no domain for a moment.
        (ReasonCode.DOMAIN_ABSENT, HOST, None),
        # Moved away while it was off, and back: its agent has seen it off all the time.
        (ReasonCode.SERVER_ON_OTHER_HOST, HOST, ReasonCode.SERVER_OFF),
        (ReasonCode.KIND_NOT_FREE, HOST, ReasonCode.SERVER_OFF),
        (ReasonCode.KIND_NOT_FREE, "", ReasonCode.SERVER_SHELVED),
        (ReasonCode.UNPLUGGED, "compute2", None),
    ],
)
def test_nova_knows_better_where_a_server_is(told: ReasonCode, host: str, code: ReasonCode | None) -> None:
    server = nova.Server("server", "demo", nova.host_id("demo", host) if host else "", locked=False)
    expected = Nothing() if code is None else Locate(code)
    assert decide(Claim(HOST, told), dataclasses.replace(GONE, nova=server)) == expected


@pytest.mark.parametrize("code", [ReasonCode.SERVER_ON_OTHER_HOST, ReasonCode.KIND_NOT_FREE])
def test_what_is_known_already_is_not_told_again(code: ReasonCode) -> None:
    server = nova.Server("server", "demo", nova.host_id("demo", "compute2"), locked=False)
    assert decide(Claim(HOST, code), dataclasses.replace(GONE, nova=server)) == Nothing()


@pytest.mark.parametrize("code", [None, ReasonCode.UNPLUGGED])
def test_nobody_but_nova_knows_of_a_server_whose_host_died(code: ReasonCode | None) -> None:
    """An evacuated server is attached to nothing on the host that it comes from."""
    server = nova.Server("server", "demo", nova.host_id("demo", "compute2"), locked=False)
    down = dataclasses.replace(GONE, nova=server, host_up=False)
    assert decide(Claim(HOST, code), down) == Locate(ReasonCode.SERVER_ON_OTHER_HOST)
