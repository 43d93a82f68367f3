# SPDX-License-Identifier: Apache-2.0
"""What is asked of the placement API, and what is written there.

Everything of ours is in resource providers that have the trait `MARK`: one below the compute node of each
host, named `provider_name`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib import parse

import os_resource_classes
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import loading
from keystoneauth1 import plugin as ks_plugin
from oslo_config import cfg

from compute_shim import credentials
from compute_shim.conf.placement import GROUP

#: The trait of all our resource providers.
MARK = "CUSTOM_USB_PASSTHROUGH"
#: What the names of our resource classes and traits begin with.
PREFIX = "CUSTOM_USB_"
_SUFFIX = "_usb"

# Of errors in JSON (placement/errors.py, since 1.23).
CONCURRENT_UPDATE = "placement.concurrent_update"
DUPLICATE_NAME = "placement.duplicate_name"
INVENTORY_IN_USE = "placement.inventory.inuse"

# The first in which an inventory may be reserved as a whole (Placement API reference, "REST API version
# history"); in that of OpenStack Rocky.
_MICROVERSION = "1.26"


class Failure(Exception):
    """Placement does not answer, or refuses; the text is for the operator."""


class Refused(Failure):
    """Placement answers, and does not do this."""


class Conflict(Refused):
    """Somebody else was quicker, or what is to be changed is in use.

    :ivar code: of Placement's error.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class NotThere(Refused):
    """There is no such provider, class or trait."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """A resource provider.

    :param generation: changes when its inventory or traits change, and when something is allocated from it;
        not when an allocation is deleted.
    :param parent: the uuid of the provider above, None of a compute node.
    """

    uuid: str
    name: str
    generation: int
    parent: str | None

    @property
    def host(self) -> str:
        """Whose devices one of ours offers."""
        return self.name.removesuffix(_SUFFIX)


@dataclasses.dataclass(frozen=True)
class Inventory:
    """How many of a class there are.

    :param reserved: so many of them Nova cannot give to a server.
    """

    total: int
    reserved: int


#: By the names of their resource classes.
Inventories = Mapping[str, Inventory]
#: Consumer -> resource class -> how many.
Allocations = Mapping[str, Mapping[str, int]]


def provider_name(host: str) -> str:
    """The name of a host's provider."""
    return f"{host}{_SUFFIX}"


def resource_class(kind: str) -> str:
    """The resource class of a kind of devices, as Nova makes names of classes."""
    return os_resource_classes.normalize_name(f"usb_{kind}")


def model_trait(model: str) -> str:
    """The trait of hosts with a model of devices.

    :param model: ``vid:pid``.
    """
    return os_resource_classes.normalize_name(f"usb_id_{model}")


class Placement:
    """The placement API, reached as ``[placement]`` says.

    Every call raises `Failure` when Placement cannot answer now or does not allow it.

    :param conf: with the group ``[placement]`` registered.
    :param auth: the credentials; None: those of the group.
    :raises compute_shim.credentials.Unusable: these are not set or incomplete
    """

    def __init__(self, conf: cfg.ConfigOpts, auth: ks_plugin.BaseAuthPlugin | None = None) -> None:
        self._api: ks_adapter.Adapter = loading.load_adapter_from_conf_options(
            conf,
            GROUP,
            session=loading.load_session_from_conf_options(conf, GROUP),
            auth=auth or _credentials(conf),
            default_microversion=_MICROVERSION,
        )

    def providers(self, name: str | None = None) -> list[Provider]:
        """All providers of ours, or the one of a name, whoever's it is.

        :raises Failure: nobody has ever created `MARK`
        """
        query = {"required": MARK} if name is None else {"name": name}
        found = self._call("GET", f"/resource_providers?{parse.urlencode(query)}")["resource_providers"]
        return [_provider(value) for value in found]

    def create_provider(self, name: str, parent: str) -> Provider:
        """Create a provider below another.

        :raises Conflict: the name is taken
        """
        body = {"name": name, "parent_provider_uuid": parent}
        return _provider(self._call("POST", "/resource_providers", body))

    def delete_provider(self, uuid: str) -> None:
        """Delete a provider with its inventories.

        :raises Conflict: something of it is allocated
        """
        self._call("DELETE", f"/resource_providers/{uuid}")

    def create_class(self, name: str) -> None:
        """Create a resource class; one that is there is left alone."""
        self._call("PUT", f"/resource_classes/{name}")

    def create_trait(self, name: str) -> None:
        """Create a trait; one that is there is left alone."""
        self._call("PUT", f"/traits/{name}")

    def delete_names(self) -> None:
        """Delete our resource classes and traits; what is still used stays."""
        classes = self._call("GET", "/resource_classes")["resource_classes"]
        traits = self._call("GET", f"/traits?name=startswith:{PREFIX}")["traits"]
        paths = [f"/resource_classes/{it['name']}" for it in classes if it["name"].startswith(PREFIX)]
        for path in [*paths, *(f"/traits/{name}" for name in traits)]:
            try:
                self._call("DELETE", path)
            except Conflict:
                continue

    def traits(self, uuid: str) -> set[str]:
        """The traits of a provider."""
        return set(self._call("GET", f"/resource_providers/{uuid}/traits")["traits"])

    def set_traits(self, uuid: str, generation: int, traits: Collection[str]) -> int:
        """Replace the traits of a provider, which exist; returns its new generation.

        :raises Conflict: it has another generation
        """
        body = {"resource_provider_generation": generation, "traits": sorted(traits)}
        answer = self._call("PUT", f"/resource_providers/{uuid}/traits", body)
        return int(answer["resource_provider_generation"])

    def inventories(self, uuid: str) -> tuple[int, Inventories]:
        """The generation and the inventories of a provider."""
        answer = self._call("GET", f"/resource_providers/{uuid}/inventories")
        found = {
            name: Inventory(value["total"], value["reserved"])
            for name, value in answer["inventories"].items()
        }
        return answer["resource_provider_generation"], found

    def set_inventories(self, uuid: str, generation: int, inventories: Inventories) -> int:
        """Replace the inventories of a provider; returns its new generation.

        A total below what is allocated is accepted; a class that is left out must not be in use.

        :raises Conflict: it has another generation, or a class that is left out is in use
        """
        body = {
            "resource_provider_generation": generation,
            "inventories": {
                name: {"total": it.total, "reserved": it.reserved, "max_unit": it.total}
                for name, it in inventories.items()
            },
        }
        answer = self._call("PUT", f"/resource_providers/{uuid}/inventories", body)
        return int(answer["resource_provider_generation"])

    def allocations(self, uuid: str) -> Allocations:
        """What is allocated from a provider."""
        answer = self._call("GET", f"/resource_providers/{uuid}/allocations")
        return {consumer: value["resources"] for consumer, value in answer["allocations"].items()}

    def allocated_to(self, consumer: str) -> Iterator[Mapping[str, int]]:
        """What a consumer has, from each provider."""
        answer = self._call("GET", f"/allocations/{consumer}")
        return (value["resources"] for value in answer["allocations"].values())

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """What Placement answers, as JSON; None without a body."""
        try:
            answer = self._api.request(path, method, json=body)
            return answer.json() if answer.content else None
        except ks_exceptions.Conflict as error:
            raise Conflict(_text(method, path, error), _code(error)) from None
        except ks_exceptions.NotFound as error:
            raise NotThere(_text(method, path, error)) from None
        except ks_exceptions.HttpError as error:
            # What a proxy, or Placement itself, cannot do now, it may do later; without credentials nothing.
            refuses = error.http_status < HTTPStatus.INTERNAL_SERVER_ERROR
            refuses = refuses and error.http_status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            raise (Refused if refuses else Failure)(_text(method, path, error)) from None
        except (ks_exceptions.ClientException, ValueError) as error:
            raise Failure(_text(method, path, error)) from None


def _credentials(conf: cfg.ConfigOpts) -> ks_plugin.BaseAuthPlugin:
    auth = credentials.load(conf, GROUP)
    if auth is None:
        raise credentials.Unusable(
            f"[{GROUP}] auth_type is not set. Set it to password, and the credentials of a user who may"
            " change resource providers."
        )
    return auth


def _provider(value: Mapping[str, Any]) -> Provider:
    return Provider(value["uuid"], value["name"], value["generation"], value["parent_provider_uuid"])


def _text(method: str, path: str, error: Exception) -> str:
    return " ".join(f"{method} {path}: {error}".split())


def _code(error: ks_exceptions.HttpError) -> str:
    try:
        return str(error.response.json()["errors"][0]["code"])
    except (AttributeError, ValueError, LookupError, TypeError):
        return ""
