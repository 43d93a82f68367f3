# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire to Nova."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import requests_mock
from keystoneauth1 import fixture as keystone_fixture
from keystoneauth1 import noauth, token_endpoint
from keystoneauth1.identity import v3
from oslo_config import cfg

from compute_shim import deadline, exception
from compute_shim.conf import nova as nova_conf
from compute_shim.nova import Hidden, Nova, host_id

KEYSTONE = "http://keystone.example/v3"
PUBLIC, INTERNAL = "http://nova.example/v2.1", "http://nova.internal/v2.1"
SERVER = "00000000-0000-0000-0000-000000000001"
BODY = {
    "server": {"id": SERVER, "tenant_id": "demo", "hostId": "abc", "locked": True, "name": "n"},
}
NOT_FOUND = {"itemNotFound": {"code": 404, "message": "Instance could not be found."}}


@pytest.fixture
def http() -> Any:
    """Keystone, with Nova in its catalog."""
    token = keystone_fixture.V3Token(project_id="demo")
    token.add_service("compute").add_standard_endpoints(public=PUBLIC, internal=INTERNAL, region="one")
    with requests_mock.Mocker() as mocker:
        mocker.get(KEYSTONE, json={"version": keystone_fixture.V3Discovery(KEYSTONE)})
        mocker.post(f"{KEYSTONE}/auth/tokens", json=token, headers={"X-Subject-Token": "the caller's"})
        yield mocker


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    """[nova] as nobody has touched it."""
    conf = cfg.ConfigOpts()
    nova_conf.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    return conf


@pytest.fixture
def auth() -> v3.Password:
    """Somebody's credentials."""
    return v3.Password(KEYSTONE, username="demo", password="demo", user_domain_id="default")


def test_a_server(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", json=BODY)
    server = Nova(conf).server(auth, SERVER)
    assert (server.id, server.project_id, server.host_id, server.locked) == (SERVER, "demo", "abc", True)
    asked = http.request_history[-1]
    assert asked.headers["X-Auth-Token"] == "the caller's"
    assert asked.headers["OpenStack-API-Version"] == "compute 2.9"


def test_nova_is_asked_nothing_else(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", json=BODY)
    Nova(conf).server(auth, SERVER)
    assert [request.hostname for request in http.request_history].count("nova.internal") == 1


def test_the_endpoint_may_be_chosen(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    conf.set_override("valid_interfaces", ["public"], group="nova")
    http.get(f"{PUBLIC}/servers/{SERVER}", json=BODY)
    assert Nova(conf).server(auth, SERVER).id == SERVER


def test_a_server_that_is_not_there(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", status_code=404, json=NOT_FOUND)
    with pytest.raises(exception.NotFound, match=f"Server {SERVER} could not be found") as caught:
        Nova(conf).server(auth, SERVER)
    assert not isinstance(caught.value, Hidden)


def test_a_server_that_is_not_to_be_seen(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", status_code=403)
    with pytest.raises(Hidden, match=f"Server {SERVER} could not be found"):
        Nova(conf).server(auth, SERVER)


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 500},
        {"status_code": 503},
        {"status_code": 429},
        {"exc": requests.exceptions.ConnectTimeout},
        {"exc": requests.exceptions.ConnectionError},
        {"text": "<html>a proxy's own page</html>"},
        {"text": "<html>a proxy's own page</html>", "status_code": 404},
        {"json": {}, "status_code": 404},
        {"json": []},
        {"json": {"server": None}},
        {"json": {"server": {"id": SERVER}}},
    ],
    ids=str,
)
def test_a_nova_that_cannot_answer(
    answer: dict[str, Any], http: Any, conf: cfg.ConfigOpts, auth: v3.Password
) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", **answer)
    with pytest.raises(exception.Unavailable, match="Nova"):
        Nova(conf).server(auth, SERVER)


def test_no_nova_in_the_catalog(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    conf.set_override("region_name", "two", group="nova")
    with pytest.raises(exception.Unavailable, match="Nova"):
        Nova(conf).server(auth, SERVER)


def test_a_token_that_nova_does_not_take(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", status_code=401)
    with pytest.raises(exception.Unauthorized):
        Nova(conf).server(auth, SERVER)


@pytest.mark.parametrize(("status", "sees"), [(200, True), (403, False)])
def test_who_sees_all_projects(
    status: int, sees: bool, http: Any, conf: cfg.ConfigOpts, auth: v3.Password
) -> None:
    http.get(f"{INTERNAL}/servers?all_tenants=1&limit=1", status_code=status, json={"servers": []})
    assert Nova(conf).sees_all_projects(auth) is sees


LISTED = f"{INTERNAL}/servers/detail"


def test_the_servers_on_a_host_page_by_page(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    servers = [BODY["server"] | {"id": name} for name in "abc"]
    first = {"servers": servers[:2], "servers_links": [{"rel": "next", "href": "http://elsewhere"}]}
    http.get(f"{LISTED}?all_tenants=1&host=compute1", json=first)
    http.get(f"{LISTED}?all_tenants=1&host=compute1&marker=b", json={"servers": servers[2:]})
    found = Nova(conf).servers_on(auth, "compute1")
    assert {name: server.id for name, server in found.items()} == {name: name for name in "abc"}


@pytest.mark.parametrize(
    ("gone", "there", "deleted"),
    [
        ([(SERVER, "DELETED")], [], True),
        ([], [], False),
        # It can be restored.
        ([(SERVER, "SOFT_DELETED")], [], None),
        ([], [(SERVER, "ACTIVE")], None),
        # The filters were ignored.
        ([("other", "DELETED")], [], None),
        ([(SERVER, "DELETED"), ("other", "DELETED")], [], None),
        ([], [("other", "ACTIVE")], None),
    ],
)
def test_who_says_that_a_server_is_deleted(
    http: Any, conf: cfg.ConfigOpts, auth: v3.Password, gone: Any, there: Any, deleted: bool | None
) -> None:
    for value, servers in (("True", gone), ("False", there)):
        body = {"servers": [{"id": name, "status": status} for name, status in servers]}
        http.get(f"{LISTED}?all_tenants=1&deleted={value}&uuid={SERVER}", json=body)
    assert Nova(conf).is_deleted(auth, SERVER) is deleted


def test_compute_hosts(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    services = [{"host": "compute1"}, {"host": "compute2"}, {}]
    http.get(f"{INTERNAL}/os-services?binary=nova-compute", json={"services": services})
    assert Nova(conf).compute_hosts(auth) == {"compute1", "compute2"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status_code": 403}, exception.Forbidden),
        ({"status_code": 404}, exception.Unavailable),
        ({"status_code": 500}, exception.Unavailable),
        ({"json": {"servers": None, "services": {}}}, exception.Unavailable),
        ({"json": {"servers": ["a"], "services": ["a"]}}, exception.Unavailable),
        ({"json": []}, exception.Unavailable),
    ],
    ids=str,
)
def test_lists_that_are_none(
    http: Any, conf: cfg.ConfigOpts, auth: v3.Password, answer: dict[str, Any], error: type[Exception]
) -> None:
    http.get(LISTED, **answer)
    http.get(f"{INTERNAL}/os-services", **answer)
    nova = Nova(conf)
    for ask in (
        lambda: nova.servers_on(auth, "compute1"),
        lambda: nova.is_deleted(auth, SERVER),
        lambda: nova.compute_hosts(auth),
    ):
        with pytest.raises(error):
            ask()


def test_one_region_leaves_no_choice(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    assert Nova(conf).regions(auth) == {"one"}


def test_a_region_that_is_chosen_leaves_no_choice(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    conf.set_override("region_name", "one", group="nova")
    assert Nova(conf).regions(auth) == set()


def test_an_endpoint_that_is_chosen_leaves_no_choice(conf: cfg.ConfigOpts) -> None:
    assert Nova(conf).regions(noauth.NoAuth()) == set()


def test_there_may_be_no_credentials(conf: cfg.ConfigOpts) -> None:
    assert Nova(conf).service_auth() is None


def test_the_id_that_nova_gives_a_host() -> None:
    # What generate_hostid("compute1", "demo") of nova.utils answers in Nova 34.0.0.
    assert host_id("demo", "compute1") == "2b64589406850361fc953a920f48f5d20e5436ef50300112c1f55134"


@pytest.fixture
def slow_nova() -> Iterator[tuple[str, threading.Event]]:
    """Something that answers one byte at a time, without end, and whether somebody has heard it out."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 601\r\n\r\n")
                for _ in range(600):
                    connection.sendall(b" ")
                    time.sleep(0.1)
                # Before the last byte, so that whoever has heard it out cannot be sooner.
                ended.set()
                connection.sendall(b" ")

        threading.Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", ended


def test_a_nova_that_drips(conf: cfg.ConfigOpts, slow_nova: tuple[str, threading.Event]) -> None:
    """Each byte comes in time, the answer does not: what counts is all of it."""
    url, ended = slow_nova
    with deadline.within(1), pytest.raises(exception.Unavailable) as caught:
        Nova(conf).server(token_endpoint.Token(url, "token"), SERVER)
    assert caught.value.reason_code == "compute_unavailable"
    assert not ended.is_set()


def test_when_the_time_is_up_nova_is_not_asked(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    with deadline.within(-1), pytest.raises(exception.Unavailable) as caught:
        Nova(conf).server(auth, SERVER)
    assert caught.value.reason_code == "timeout"
    assert not http.called


def test_nova_gets_the_time_that_is_left(http: Any, conf: cfg.ConfigOpts, auth: v3.Password) -> None:
    http.get(f"{INTERNAL}/servers/{SERVER}", json=BODY)
    with deadline.within(7):
        Nova(conf).server(auth, SERVER)
    assert 0 < http.request_history[-1].timeout <= 7
    Nova(conf).server(auth, SERVER)
    assert http.request_history[-1].timeout == 30
