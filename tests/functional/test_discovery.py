# SPDX-License-Identifier: Apache-2.0
"""Clients find the API at whatever address the catalog has: the real client, keystoneauth, the real API."""

from __future__ import annotations

import io
from typing import Any
from urllib import parse

import pytest
import requests
import webob
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions, fixture, session, token_endpoint
from keystoneauth1.identity import access

from novaclient_usb import client
from tests.functional.world import SERVERS, World

HOST = "http://controller.example"
CATALOG = [
    f"{HOST}{below}{version}{slash}"
    for below in ("", "/usb")
    for version in ("", "/v1")
    for slash in ("", "/")
]


class Deployment(requests.adapters.BaseAdapter):
    """The API behind a web server, for `requests`.

    :param script: the path below which it is.
    :param environ: what the web server adds to each request.
    """

    def __init__(self, world: World, script: str = "", **environ: str) -> None:
        super().__init__()
        self._world = world
        self._script = script
        self._environ = environ
        self.log: list[str] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url is not None
        self.log.append(f"{request.method} {request.url}")
        asked = webob.Request.blank(request.url, method=request.method, headers=dict(request.headers))
        body: Any = request.body or b""
        asked.body = body if isinstance(body, bytes) else body.encode()
        assert asked.path_info.startswith(self._script)
        asked.environ |= {
            "SCRIPT_NAME": self._script,
            "PATH_INFO": asked.path_info.removeprefix(self._script),
            **self._environ,
        }
        return _for_requests(asked.get_response(self._world.api), request)

    def close(self) -> None:
        pass


def _for_requests(answer: webob.Response, request: requests.PreparedRequest) -> requests.Response:
    response = requests.Response()
    response.request, response.url = request, request.url or ""
    response.status_code, response.reason = answer.status_int, answer.status
    response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
    response.raw = io.BytesIO(answer.body)
    return response


def _connect(deployment: requests.adapters.BaseAdapter, **options: Any) -> session.Session:
    http = requests.Session()
    http.mount("http://", deployment)
    http.mount("https://", deployment)
    return session.Session(session=http, **options)


def _with_catalog(url: str) -> access.AccessInfoPlugin:
    """The token ``demo``, with this address in its catalog."""
    token = fixture.V3Token(project_id="demo")
    token.add_service(client.SERVICE_TYPE).add_standard_endpoints(public=url, region="one")
    return access.AccessInfoPlugin(auth_ref=access.access.create(body=token, auth_token="demo"))


@pytest.fixture(params=CATALOG)
def url(request: pytest.FixtureRequest) -> str:
    """What may be in a catalog."""
    return request.param


@pytest.fixture
def deployment(world: World, url: str) -> Deployment:
    """The API where that says."""
    world.sync("compute1", STICK1={})
    return Deployment(world, "/usb" if "/usb" in url else "")


def _use(usb: client.Client, world: World) -> None:
    """Call it in every way: a list with pages, one thing, a change."""
    device_id, server_id = world.device_id("STICK1"), SERVERS["DEMO"].id
    assert [device["id"] for device in usb.devices.list(limit=1)] == [device_id]
    assert usb.devices.get(device_id)["serial"] == "STICK1"
    assert usb.attachments.create(server_id, device_id)["device"]["state"] == "attaching"
    assert usb.attachments.get(server_id, device_id)["device_id"] == device_id


def _asked_for_versions(deployment: Deployment) -> int:
    return sum(line.rstrip("/").endswith((".example", "/usb", "/v1")) for line in deployment.log)


def test_the_catalog(world: World, deployment: Deployment, url: str) -> None:
    usb = client.from_session(_connect(deployment), auth=_with_catalog(url))
    _use(usb, world)
    assert _asked_for_versions(deployment) == (0 if "/v1" in url else 1)


def test_a_token_and_an_address_as_horizon_has_them(world: World, deployment: Deployment, url: str) -> None:
    found: dict[str, Any] = {}
    for _ in range(2):
        auth = token_endpoint.Token(url, "demo")
        _use(client.from_session(_connect(deployment, auth=auth, discovery_cache=found)), world)
    assert _asked_for_versions(deployment) == (0 if "/v1" in url else 1)


def test_an_endpoint_override(world: World, deployment: Deployment, url: str) -> None:
    adapter = ks_adapter.Adapter(
        _connect(deployment),
        auth=_with_catalog("http://elsewhere.example"),
        service_type=client.SERVICE_TYPE,
        endpoint_override=url,
        default_microversion="1.0",
    )
    _use(client.Client(adapter), world)


@pytest.mark.parametrize(
    "wanted",
    [{"version": "1"}, {"min_version": "1", "max_version": "1.latest"}, {"min_version": "1.0"}],
    ids=str,
)
def test_adapters_of_others(world: World, deployment: Deployment, url: str, wanted: dict[str, str]) -> None:
    """As the SDK and osc-placement make theirs: they discover version 1 and use relative paths."""
    adapter = ks_adapter.Adapter(
        _connect(deployment), auth=_with_catalog(url), service_type=client.SERVICE_TYPE, **wanted
    )
    data = adapter.get_endpoint_data()
    assert data is not None
    assert data.api_version == (1, 0)
    assert (data.min_microversion, data.max_microversion) == ((1, 0), (1, 0))
    assert parse.urlsplit(data.url).path.rstrip("/") == f"{deployment._script}/v1"
    assert len(adapter.get("/devices", microversion="1.0").json()["devices"]) == 1


def test_a_version_that_there_is_not(world: World, deployment: Deployment, url: str) -> None:
    adapter = ks_adapter.Adapter(
        _connect(deployment), auth=_with_catalog(url), service_type=client.SERVICE_TYPE, min_version="2"
    )
    with pytest.raises(exceptions.EndpointNotFound):
        adapter.get("/devices")


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_version_documents(world: World, path: str, method: str) -> None:
    """Public, and their links lead to version 1."""
    answer = webob.Request.blank(f"http://usb.example{path or '/'}", method=method)
    answer.environ["PATH_INFO"] = path
    answer = answer.get_response(world.api)
    assert answer.status_int == 200
    whole = webob.Request.blank(f"http://usb.example{path}").get_response(world.api)
    assert answer.headers["Content-Length"] == str(len(whole.body))
    if method == "HEAD":
        assert answer.body == b""
        return
    (version,) = answer.json["versions"] if path in ("", "/") else [answer.json["version"]]
    assert version["id"] == "v1.0"
    assert version["links"] == [{"rel": "self", "href": "http://usb.example/v1/"}]


@pytest.mark.parametrize("parsed", [True, False])
def test_behind_a_proxy(world: World, parsed: bool) -> None:
    """Links name the public address if the operator says so; clients keep to TLS anyway."""
    world.conf.set_override("enable_proxy_headers_parsing", parsed, group="oslo_middleware")
    world.sync("compute1", STICK1={}, STICK2={})
    deployment = Deployment(
        world,
        HTTP_HOST="10.0.0.5:9797",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_HOST="cloud.example",
        HTTP_X_FORWARDED_PREFIX="/usb",
    )
    public = "https://cloud.example/usb"
    answer = webob.Request.blank(
        "/v1", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "usb.example"}
    )
    (link,) = answer.get_response(world.api).json["version"]["links"]
    assert link["href"] == ("https://usb.example/v1/" if parsed else "http://localhost/v1/")
    usb = client.from_session(_connect(_Stripped(deployment)), auth=_with_catalog(public))
    world.conf.set_override("max_limit", 1, group="api")
    assert len(usb.devices.list()) == 2
    assert all(line.split()[1].startswith(f"{public}") for line in deployment.log)


class _Stripped(requests.adapters.BaseAdapter):
    """A proxy that takes ``/usb`` off the path."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self._deployment = deployment

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        public = request.url or ""
        request.url = public.replace("/usb", "", 1)
        response = self._deployment.send(request)
        self._deployment.log[-1] = f"{request.method} {public}"
        request.url = response.url = public
        return response

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("asked", "status", "answered"),
    [
        (None, 200, "usb-passthrough 1.0"),
        ("usb-passthrough 1.0", 200, "usb-passthrough 1.0"),
        ("usb-passthrough latest", 200, "usb-passthrough 1.0"),
        ("compute 2.90", 200, "usb-passthrough 1.0"),
        ("compute 2.90, usb-passthrough 1.0", 200, "usb-passthrough 1.0"),
        ("usb-passthrough 0.9", 406, None),
        ("usb-passthrough 1.1", 406, None),
        ("usb-passthrough 2.0", 406, None),
        ("usb-passthrough one", 400, None),
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/", "/v1/devices"])
def test_versions_that_are_asked_for(
    world: World, path: str, asked: str | None, status: int, answered: str | None
) -> None:
    headers = {"X-Auth-Token": "demo"}
    if asked is not None:
        headers["OpenStack-API-Version"] = asked
    answer = webob.Request.blank(path, headers=headers).get_response(world.api)
    assert answer.status_int == status
    assert answer.headers.get("OpenStack-API-Version") == answered
    if status == 406:
        error = answer.json["error"]
        assert error["reason_code"] == "version_not_supported"
        assert (error["min_version"], error["max_version"]) == ("1.0", "1.0")
    if status == 400:
        assert set(answer.json["error"]) == {"code", "title", "reason_code", "message"}


def test_the_header_of_one_service_says_nothing_to_another(world: World) -> None:
    """What Nova had before there was a common header is not ours."""
    headers = {
        "X-Auth-Token": "demo",
        "X-OpenStack-API-Version": "9.9",
        "X-OpenStack-Nova-API-Version": "9.9",
    }
    assert webob.Request.blank("/v1/devices", headers=headers).get_response(world.api).status_int == 200


def test_a_service_that_is_away_is_not_one_that_the_catalog_lacks() -> None:
    http = requests.Session()
    auth = _with_catalog("http://127.0.0.1:1")
    with pytest.raises(exceptions.ConnectFailure):
        client.from_session(session.Session(session=http), auth=auth).devices.list()
