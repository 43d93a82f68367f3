# SPDX-License-Identifier: Apache-2.0
"""Claims of servers that are deleted, moved or shelved."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from compute_shim.conductor import metrics
from compute_shim.conductor.server_sync import BRAKE_COUNT
from compute_shim.db import absence, history, intent, models, queries
from compute_shim.db.leases import Lease
from compute_shim.objects import ClaimStatus, ReasonCode, State
from tests.unit.conductor.cloud import INTERVAL, Cloud, nothing_changes
from tests.unit.db.test_states import HOST

OFF = ReasonCode.SERVER_OFF


def test_the_device_of_a_deleted_server_is_given_back_in_the_second_pass(cloud: Cloud) -> None:
    alive, gone = cloud.claims(2)
    cloud.compute.boot(alive)
    cloud.compute.deleted = {gone}
    cloud.look()
    assert cloud.released == set()
    cloud.look()
    assert cloud.released == {gone}
    [(device_id, context)] = cloud.nudger.nudged
    row = queries.device(cloud.db, device_id)
    assert row is not None
    assert (row.instance_uuid, row.generation) == (gone, 2)
    event = history.page(cloud.db, history.Filter(device_id))[0]
    assert event.cause_code == ReasonCode.SERVER_DELETED
    assert event.request_id == context["request_id"]
    assert context["request_id"].startswith("req-")


def test_it_is_given_back_once(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(1))
    cloud.look(4)
    assert len(cloud.nudger.nudged) == 1


def test_a_server_that_was_purged_from_novas_database(cloud: Cloud) -> None:
    [gone] = cloud.claims(1)
    cloud.look(2)
    assert cloud.released == {gone}


def test_a_soft_deleted_server_can_be_restored(cloud: Cloud) -> None:
    cloud.compute.soft_deleted = set(cloud.claims(1))
    cloud.look(4)
    assert cloud.released == set()


def test_what_changed_a_moment_ago_is_left_alone(cloud: Cloud) -> None:
    cloud.claims(1)
    cloud.keep_alive()
    cloud.conductor()
    assert cloud.compute.asked == []


def test_what_is_attached_is_left_alone(cloud: Cloud) -> None:
    cloud.claims(1, State.ATTACHED, None)
    cloud.look(4)
    assert cloud.compute.asked == []


def test_a_domain_that_an_agent_sees_keeps_the_claim(cloud: Cloud) -> None:
    """Also on another host than that of the device: the server may have moved there."""
    here, there = cloud.claims(2)
    cloud.up.add("compute2")
    queries.sync_host(cloud.db, "compute2", "QEMU", "1.1", [])
    cloud.compute.deleted = {here, there}
    cloud.domain(here)
    cloud.domain(there, "compute2")
    cloud.look(4)
    assert cloud.released == set()
    cloud.up.remove("compute2")
    cloud.look(9)
    assert cloud.released == {there}


@pytest.mark.parametrize(
    ("version", "code", "released"),
    [("1.0", OFF, 0), ("1.0", ReasonCode.DOMAIN_ABSENT, 1), ("1.1", OFF, 1)],
)
def test_an_agent_that_reports_no_domains_must_miss_this_one(
    cloud: Cloud, version: str, code: ReasonCode, released: int
) -> None:
    cloud.compute.deleted = set(cloud.claims(1, code=code, version=version))
    cloud.look(4)
    assert len(cloud.released) == released


def test_of_a_host_that_is_down_only_a_deletion_counts(cloud: Cloud) -> None:
    _, deleted = cloud.claims(2, State.ATTACHED, None)
    cloud.compute.deleted = {deleted}
    cloud.wait(INTERVAL + 1)
    cloud.up.clear()
    cloud.look(4)
    assert cloud.released == {deleted}


def test_a_host_that_is_forgotten_is_down(cloud: Cloud) -> None:
    """Its row was deleted by hand, the claim was not."""
    _, deleted = cloud.claims(2)
    cloud.compute.deleted = {deleted}
    with cloud.db.writer() as session:
        session.execute(sa.delete(models.Host))
    cloud.look(4)
    assert cloud.released == {deleted}


def test_two_looks_at_one_moment_are_one_pass(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(1))
    cloud.look()
    cloud.wait(INTERVAL - 1)
    for _ in range(3):
        cloud.conductor()
    assert cloud.released == set()


@pytest.mark.parametrize("step", [3600, -3600, 1e8, -1e8])
def test_a_step_of_the_clock_is_no_pass(cloud: Cloud, step: float) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.look()
    cloud.wait(1, wall=step)
    cloud.keep_alive()
    cloud.conductor()
    assert cloud.released == set()
    cloud.look(3)
    assert cloud.released == {gone}


def test_a_pass_that_proves_nothing_begins_anew(cloud: Cloud) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.look()
    cloud.compute.fail("/servers", status_code=500)
    cloud.look()
    assert cloud.rows()[0].absent_seen is None
    cloud.compute.failures.clear()
    cloud.look()
    assert cloud.released == set()
    cloud.look()
    assert cloud.released == {gone}


def test_a_claim_that_changed_begins_anew(cloud: Cloud) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.look()
    [row] = cloud.rows()
    queries.record_statuses(
        cloud.db, HOST, [ClaimStatus(row.id, 1, State.FAILED, "", ReasonCode.DEVICE_GONE)]
    )
    intent.retry(cloud.db, row.id, gone)
    absent = ClaimStatus(row.id, 2, State.WAITING, reason_code=ReasonCode.DOMAIN_ABSENT)
    queries.record_statuses(cloud.db, HOST, [absent])
    cloud.look()
    assert cloud.released == set()
    cloud.look()
    assert cloud.released == {gone}


@pytest.mark.parametrize(
    ("told", "host", "reason"),
    [
        (OFF, "compute2", ReasonCode.SERVER_ON_OTHER_HOST),
        (OFF, HOST, OFF),
        (ReasonCode.DOMAIN_ABSENT, HOST, ReasonCode.DOMAIN_ABSENT),
        (ReasonCode.SERVER_ON_OTHER_HOST, "", ReasonCode.SERVER_SHELVED),
        (ReasonCode.UNPLUGGED, "compute2", ReasonCode.UNPLUGGED),
    ],
)
def test_nova_knows_better_where_a_server_is(
    cloud: Cloud, told: ReasonCode, host: str, reason: ReasonCode
) -> None:
    [server] = cloud.claims(1, code=told)
    cloud.compute.boot(server, host)
    cloud.look()
    [row] = cloud.rows()
    assert (row.state, row.reason_code) == (State.WAITING, reason)


def test_nova_is_not_believed_while_it_moves_the_server(cloud: Cloud) -> None:
    [server] = cloud.claims(1)
    cloud.compute.boot(server, "compute2", **{"OS-EXT-STS:task_state": "migrating"})
    nothing_changes(cloud, cloud.look)


@pytest.mark.parametrize(
    ("host", "claim"),
    [("compute2", (State.WAITING, ReasonCode.SERVER_ON_OTHER_HOST)), (HOST, (State.ATTACHED, None))],
)
def test_nobody_but_nova_knows_of_a_server_whose_host_died(
    cloud: Cloud, host: str, claim: tuple[State, str | None]
) -> None:
    [server] = cloud.claims(1, State.ATTACHED, None)
    cloud.compute.boot(server, host)
    cloud.wait(INTERVAL + 1)
    cloud.up.clear()
    cloud.look()
    [row] = cloud.rows()
    assert (row.state, row.reason_code) == claim


@pytest.mark.parametrize(
    ("server", "confirmed"),
    [
        ({"host": "compute2"}, True),
        ({"host": "compute2", "OS-EXT-STS:task_state": "migrating"}, False),
        ({"host": HOST}, False),
        ({"host": ""}, False),
        (None, False),
    ],
    ids=str,
)
def test_nova_confirms_where_a_server_is(
    cloud: Cloud, server: dict[str, Any] | None, confirmed: bool
) -> None:
    [server_id] = cloud.claims(1)
    if server is not None:
        cloud.compute.boot(server_id, **server)
    assert cloud.witnesses.is_on(server_id, "compute2") == confirmed
    cloud.compute.fail("/", status_code=500)
    assert not cloud.witnesses.is_on(server_id, "compute2")


@pytest.mark.parametrize(
    "answer", [{"status_code": 500}, {"status_code": 403}, {"status_code": 200}], ids=str
)
def test_an_error_of_one_server_does_not_stop_the_others(cloud: Cloud, answer: dict[str, Any]) -> None:
    broken, gone, moved = cloud.claims(3)
    cloud.compute.deleted = {gone}
    cloud.compute.boot(moved, "compute2")
    cloud.compute.fail(f"/servers/{broken}", **answer)
    cloud.look(2)
    assert cloud.released == {gone}
    claims = {row.instance_uuid: row.reason_code for row in cloud.rows(State.WAITING)}
    assert claims == {broken: ReasonCode.DOMAIN_ABSENT, moved: ReasonCode.SERVER_ON_OTHER_HOST}


def test_a_hundred_servers_that_are_off_cost_one_call_and_soon_none(cloud: Cloud) -> None:
    for server in cloud.claims(100, code=OFF):
        cloud.compute.boot(server)
    cloud.look()
    assert cloud.compute.asked == ["/servers/detail"]
    cloud.look(30)
    # 1 + 2 + 4 + 8 passes until the longest pause, of 8 passes each after that.
    assert len(cloud.compute.asked) == 6


def test_news_are_looked_at_in_the_next_pass(cloud: Cloud) -> None:
    [server] = cloud.claims(1, code=OFF)
    cloud.compute.boot(server)
    cloud.look(7)
    cloud.compute.boot(server, "compute2")
    cloud.say(State.WAITING, ReasonCode.DOMAIN_ABSENT)
    cloud.look(2)
    assert cloud.rows()[0].reason_code == ReasonCode.SERVER_ON_OTHER_HOST


def test_a_claim_that_was_fulfilled_in_between_is_looked_at_at_once(cloud: Cloud) -> None:
    """However long the pause was that it had come to."""
    [server] = cloud.claims(1, code=OFF)
    cloud.compute.boot(server)
    cloud.look(9)
    cloud.say(State.ATTACHED, None)
    cloud.look()
    cloud.say(State.WAITING, OFF)
    cloud.compute.boot(server, "compute2")
    cloud.look(2)
    assert cloud.rows()[0].reason_code == ReasonCode.SERVER_ON_OTHER_HOST


# The brake.


def test_a_server_that_is_gone_at_last_is_looked_for_again_at_once(cloud: Cloud) -> None:
    """However long Nova had not answered."""
    cloud.compute.deleted = set(cloud.claims(1))
    cloud.compute.fail("/", status_code=500)
    cloud.look(6)
    cloud.compute.failures.clear()
    while not [row for row in cloud.rows() if row.absent_seen]:
        cloud.look()
    assert cloud.released == set()
    cloud.look()
    assert cloud.released == cloud.compute.deleted


def test_as_many_as_the_brake_allows(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(BRAKE_COUNT))
    cloud.look(2)
    assert len(cloud.released) == BRAKE_COUNT


def test_one_more_is_held_and_said_once_in_each_pass(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    cloud.compute.deleted = set(cloud.claims(BRAKE_COUNT + 1))
    cloud.look(2)
    assert len(history.page(cloud.db, history.Filter(device_id=""))) == 1
    cloud.look()
    assert cloud.released == set()
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2
    assert "11 of 11 claims" in said[0]
    assert "usb-shim-manage claims release-absent" in said[0]
    [event] = history.page(cloud.db, history.Filter(device_id=""))
    assert (event.cause_code, event.state_reason) == (ReasonCode.RELEASES_HELD, said[0])


def test_what_the_brake_holds_an_operator_may_release(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(BRAKE_COUNT + 1))
    cloud.look(3)
    proven = absence.proven(cloud.db, cloud.window(), datetime.timedelta(seconds=INTERVAL))
    assert {claim.instance_uuid for claim in proven} == cloud.compute.deleted


@pytest.mark.parametrize(("attached", "released"), [(99, 11), (98, 0)])
def test_a_tenth_of_all_claims_is_not_too_many(cloud: Cloud, attached: int, released: int) -> None:
    """11 of 110, and 11 of 109."""
    cloud.claims(attached, State.ATTACHED, None, host="compute2")
    cloud.up.add("compute2")
    cloud.compute.deleted = set(cloud.claims(11))
    cloud.look(2)
    assert len(cloud.released) == released


def held_for_two_passes(cloud: Cloud) -> set[str]:
    """So many are gone that the brake holds, until some turn out to be there; the others."""
    servers = cloud.claims(BRAKE_COUNT + 5)
    cloud.compute.deleted = set(servers)
    cloud.look(3)
    for server in servers[:5]:
        cloud.compute.deleted.remove(server)
        cloud.compute.boot(server)
    cloud.look()
    return set(servers[5:])


def test_a_later_pass_below_the_brake_goes_on(cloud: Cloud) -> None:
    gone = held_for_two_passes(cloud)
    assert cloud.released == gone


def test_a_brake_that_holds_anew_is_told_anew(cloud: Cloud) -> None:
    held_for_two_passes(cloud)
    cloud.up.add("compute2")
    cloud.compute.deleted |= set(cloud.claims(BRAKE_COUNT + 1, host="compute2"))
    cloud.look(3)
    assert len(history.page(cloud.db, history.Filter(device_id=""))) == 2


def test_releases_and_brakes_are_counted(cloud: Cloud) -> None:
    def counts() -> list[float]:
        counters = (metrics.releases, metrics.brakes)
        return [family.samples[0].value for counter in counters for family in counter.collect()]

    before = counts()
    held_for_two_passes(cloud)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [BRAKE_COUNT, 2]


# Several conductors.


def test_only_the_leader_looks(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(1))
    other = cloud.new_conductor("two")
    cloud.look()
    asked = list(cloud.compute.asked)
    cloud.look(3, other)
    assert cloud.compute.asked == asked
    assert cloud.released == set()


def test_a_leader_that_stops_is_followed_by_another_that_proves_it_again(cloud: Cloud) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    other = cloud.new_conductor("two")
    cloud.look()
    cloud.conductor.stop()
    cloud.look(1, other)
    assert cloud.released == set()
    cloud.look(1, other)
    assert cloud.released == {gone}


def test_a_conductor_that_stopped_does_not_begin_anew(cloud: Cloud) -> None:
    cloud.compute.deleted = set(cloud.claims(1))
    cloud.conductor.stop()
    cloud.look(3)
    assert cloud.compute.asked == []


def test_who_loses_the_lease_writes_nothing_more(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost while Nova is asked."""
    gone, moved = cloud.claims(2)
    cloud.compute.deleted = {gone}
    cloud.look()
    cloud.compute.boot(moved, "compute2")
    real, answers = Lease.acquire, [True]
    monkeypatch.setattr(Lease, "acquire", lambda self: real(self) and bool(answers and answers.pop()))
    nothing_changes(cloud, cloud.look)
    assert "Another conductor" in caplog.text
    monkeypatch.undo()
    cloud.look()
    assert cloud.released == set()


def test_a_conductor_that_lost_its_lease_begins_anew(cloud: Cloud) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.look()
    cloud.expire_lease()
    cloud.new_conductor("two")()
    cloud.conductor()
    cloud.expire_lease()
    cloud.look()
    assert cloud.released == set()
    cloud.look()
    assert cloud.released == {gone}


def test_the_lease_is_renewed_before_each_change(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def log(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: done.append(name) or real(*args))

    changes = {"remember": absence, "release": absence, "wait_for_server": intent}
    for name, owner in {"acquire": Lease, **changes}.items():
        log(owner, name)
    gone, *back, shelved = cloud.claims(4)
    cloud.compute.boot(shelved, "")
    cloud.compute.deleted = {gone, *back}
    cloud.look()
    for server in back:
        cloud.compute.deleted.remove(server)
        cloud.compute.boot(server)
    cloud.look()
    assert set(done) == {"acquire", *changes}
    assert {before for before, what in itertools.pairwise(done) if what in changes} == {"acquire"}


def test_after_each_question_to_nova_the_lease_is_renewed(cloud: Cloud) -> None:
    cloud.claims(3)
    asked: list[int] = []
    up = cloud.window()
    cloud.witnesses.evidence(cloud.rows(), up, lambda: asked.append(len(cloud.compute.asked)))
    # One of the host, three of each server: Nova neither shows it nor knows it as deleted.
    assert asked == [1, 4, 7, 10]


# What Nova says of a server in line.


def test_a_server_in_line_is_gone_when_nova_says_so(cloud: Cloud) -> None:
    cloud.compute.boot("there")
    cloud.compute.deleted, cloud.compute.soft_deleted = {"deleted"}, {"soft-deleted"}
    said = {name: cloud.witnesses.is_gone(name) for name in ("there", "deleted", "soft-deleted", "never")}
    assert said == {"there": False, "deleted": True, "soft-deleted": False, "never": True}


# What keeps it from releasing anything.


def test_a_region_that_is_not_chosen_releases_nothing(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    [gone] = cloud.claims(1)
    cloud.compute.deleted = {gone}
    cloud.obstacle = "there are two regions"
    cloud.look(4)
    assert cloud.released == set()
    assert caplog.text.count("there are two regions") == 1
    cloud.obstacle = None
    cloud.look(1)
    assert cloud.released == {gone}


def everything(**answer: Any) -> dict[str, dict[str, Any]]:
    return {"/": answer}


NOT_FOUND = {"itemNotFound": {"code": 404}}
WRONG = {
    "404": everything(status_code=404, json=NOT_FOUND),
    "404 of a proxy": everything(status_code=404),
    "403": everything(status_code=403),
    "401": everything(status_code=401),
    "500": everything(status_code=500),
    "nothing but braces": everything(status_code=200),
    "lists that are none": everything(status_code=200, json={"servers": None, "server": None}),
    "404 of servers": {"/servers/": {"status_code": 404, "json": NOT_FOUND}},
    "403 of servers": {"/servers/": {"status_code": 403}},
    "404 and no services": {"/os-services": {"status_code": 403}},
}


@pytest.mark.parametrize("host_up", [True, False])
@pytest.mark.parametrize("state", [State.ATTACHED, State.WAITING])
@pytest.mark.parametrize("answers", WRONG)
def test_a_nova_that_answers_wrong_takes_nothing_from_anybody(
    cloud: Cloud, answers: str, state: State, host_up: bool
) -> None:
    cloud.claims(3, state, None if state == State.ATTACHED else ReasonCode.DOMAIN_ABSENT)
    cloud.compute.failures = WRONG[answers]
    cloud.wait(INTERVAL + 1)
    cloud.up = {HOST} if host_up else set()
    nothing_changes(cloud, lambda: cloud.look(4))


@pytest.mark.parametrize("host_up", [True, False])
def test_the_nova_of_another_region_takes_nothing_from_anybody(cloud: Cloud, host_up: bool) -> None:
    """It knows neither the servers nor the host."""
    cloud.claims(3)
    cloud.compute.hosts = ["compute1.other-region"]
    cloud.wait(INTERVAL + 1)
    cloud.up = {HOST} if host_up else set()
    nothing_changes(cloud, lambda: cloud.look(4))


@pytest.mark.parametrize("status", [404, 403, 500])
def test_three_hundred_attached_devices_whose_agents_are_silent(cloud: Cloud, status: int) -> None:
    cloud.claims(300, State.ATTACHED, None)
    cloud.compute.failures = everything(status_code=status, json=NOT_FOUND)
    cloud.wait(INTERVAL + 1)
    cloud.up.clear()
    nothing_changes(cloud, lambda: cloud.look(2))


def test_a_user_whose_filters_nova_ignores_releases_nothing(cloud: Cloud) -> None:
    """Without servers:allow_all_filters, Nova lists servers that were not asked for."""
    cloud.claims(1)
    stranger = {"id": "f" * 8, "tenant_id": "demo", "hostId": "", "locked": False, "status": "ACTIVE"}
    cloud.compute.fail("/servers/detail", status_code=200, json={"servers": [stranger]})
    nothing_changes(cloud, lambda: cloud.look(4))


def test_a_user_who_may_list_but_not_show_releases_nothing(cloud: Cloud) -> None:
    """``GET /servers/{id}`` answers 404 for servers of other projects to all but administrators."""
    [server] = cloud.claims(1)
    cloud.compute.boot(server, "compute2")
    cloud.compute.fail(f"/servers/{server}", status_code=404, json=NOT_FOUND)
    nothing_changes(cloud, lambda: cloud.look(4))
