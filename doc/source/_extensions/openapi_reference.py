# SPDX-License-Identifier: Apache-2.0
"""The directive ``openapi-reference``: the API reference from an OpenAPI 3.1 description.

Covers what doc/openapi.yaml uses. sphinxcontrib-openapi 0.10 fails on schemas of OpenAPI 3.1 whose ``oneOf``
has references.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

_METHODS = ("get", "post", "put", "patch", "delete")
# Schemas that another page describes.
_ELSEWHERE = {"ReasonCode": ":doc:`reason code </reference/reason-codes>`"}


class OpenAPIReference(SphinxDirective):
    """``.. openapi-reference:: FILE``, relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Every operation, and every object, as a section."""
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        specification = yaml.safe_load(Path(path).read_text())
        section = nodes.section(document=self.state.document)
        lines = StringList(list(_Description(specification).lines()), source=path)
        nested_parse_with_titles(self.state, lines, section)
        return section.children


class _Description:
    def __init__(self, specification: dict[str, Any]) -> None:
        self.specification = specification

    def lines(self) -> Iterator[str]:
        yield from _text(self.specification["info"]["description"])
        yield from _heading("Operations", "=")
        for path, item in self.specification["paths"].items():
            for method in _METHODS:
                if method in item:
                    shared = item.get("parameters", [])
                    yield from self._operation(f"{method.upper()} {path}", item[method], shared)
        yield from _heading("Objects", "=")
        for name, schema in self.specification["components"]["schemas"].items():
            if schema.get("type") == "object":
                yield f".. _openapi-{name}:"
                yield from _heading(name, "-")
                yield from self._fields(schema)

    def _operation(
        self, title: str, operation: dict[str, Any], shared: list[dict[str, Any]]
    ) -> Iterator[str]:
        yield from _heading(title, "-")
        yield from _text(operation["summary"])
        yield from _text(operation.get("description", ""))
        parameters = [self._resolve(parameter) for parameter in shared + operation.get("parameters", [])]
        if parameters:
            yield from _table(
                ("Parameter", "In", "Type", "Description"), map(self._parameter, parameters), "22 10 28 40"
            )
        if "requestBody" in operation:
            yield from _text("Body:")
            yield from self._fields(self._resolve(_content(operation["requestBody"])))
        rows = ((code, *self._response(response)) for code, response in operation["responses"].items())
        yield from _table(("Status", "Body", "Description"), rows, "10 40 50")

    def _parameter(self, parameter: dict[str, Any]) -> tuple[str, ...]:
        described = parameter.get("description") or self._resolve(parameter["schema"]).get("description", "")
        required = "" if parameter["in"] == "path" or not parameter.get("required") else " (required)"
        where = parameter["in"] + required
        return f"``{parameter['name']}``", where, self._type(parameter["schema"]), described

    def _response(self, response: dict[str, Any]) -> tuple[str, str]:
        response = self._resolve(response)
        body = ""
        if "content" in response:
            schema = _content(response)
            fields = schema.get("properties", {})
            body = (
                ", ".join(f"``{name}``: {self._type(field)}" for name, field in fields.items())
                if fields
                else self._type(schema)
            )
        return body, response["description"]

    def _fields(self, schema: dict[str, Any]) -> Iterator[str]:
        yield from _table(("Field", "Type", "Description"), self._rows(schema), "25 30 45")

    def _rows(self, schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
        for name, field in schema.get("properties", {}).items():
            required = "" if name in schema.get("required", []) else " (optional)"
            described = field.get("description") or self._resolve(field).get("description", "")
            yield f"``{prefix}{name}``{required}", self._type(field), described
            if "$ref" not in field:
                inner = field.get("items", field)
                yield from self._rows(inner, f"{prefix}{name}{'[]' if 'items' in field else ''}.")

    def _type(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            resolved = self._resolve(schema)
            if resolved.get("type") == "object":
                return f":ref:`{name} <openapi-{name}>`"
            return _ELSEWHERE.get(name) or self._type(resolved)
        for several in ("oneOf", "anyOf"):
            if several in schema:
                return " or ".join(map(self._type, schema[several]))
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return ", ".join(map(_literal, schema["enum"]))
        if schema["type"] == "array":
            return f"list of {self._type(schema['items'])}"
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return " or ".join(types)

    def _resolve(self, item: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in item:
            found: Any = self.specification
            for key in item["$ref"].removeprefix("#/").split("/"):
                found = found[key]
            item = found
        return item


def _content(item: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = item["content"]["application/json"]["schema"]
    return schema


def _literal(value: Any) -> str:
    return {None: "null", "": '``""``'}.get(value) or f"``{value}``"


def _text(markdown: str) -> list[str]:
    """Markdown's code in single quotes is reStructuredText's in double ones."""
    return [*re.sub(r"`([^`]+)`", r"``\1``", markdown).splitlines(), ""]


def _heading(title: str, underline: str) -> list[str]:
    return ["", title, underline * len(title), ""]


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]], widths: str) -> Iterator[str]:
    yield from ("", ".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (headings, *rows):
        for index, cell in enumerate(row):
            lines = _text(cell) if row is not headings and index == len(row) - 1 else [cell]
            first, *others = [line for line in lines if line] or [""]
            yield f"{'     -' if index else '   * -'} {first}"
            yield from (f"       {line}" for line in others)
    yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("openapi-reference", OpenAPIReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
