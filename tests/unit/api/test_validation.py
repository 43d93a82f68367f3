# SPDX-License-Identifier: Apache-2.0
"""What a client is told of a request that is not valid."""

from __future__ import annotations

import pytest
import webob

from compute_shim import exception
from compute_shim.api import validation

NUMBER = {"type": "integer"}
# What jsonschema says of the text that is no integer, without that text.
_AROUND = len("'' is not of type 'integer'")


def refused(body: bytes) -> str:
    request = webob.Request.blank("/", method="POST", body=body)
    with pytest.raises(exception.Invalid) as refusal:
        validation.body(request, NUMBER)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("body", "why"), [(b"[" * 50000, "it is nested too deeply."), (b"[1,", "line 1 column 4 (char 3).")]
)
def test_why_a_body_is_not_json(body: bytes, why: str) -> None:
    assert refused(body).startswith("The body of the request is not JSON: ")
    assert refused(body).endswith(why)


@pytest.mark.parametrize(("more", "end"), [(0, "'integer'."), (1, "'integer....")])
def test_a_reason_is_cut_after_200_characters(more: int, end: str) -> None:
    told = refused(b'"%s"' % (b"x" * (200 - _AROUND + more)))
    assert told.endswith(end)
