"""The headers of an answer as backends are given them."""

from __future__ import annotations

from types import SimpleNamespace

import httpx

from thumbprint.capture._headers import headers_of


def test_headers_are_found_by_lower_case_name_and_all_can_be_gone_through():
    raw = [(b"CF-Aig-Log-Id", b"01J"), (b"vary", b"a"), (b"Vary", b"b"), (b"x-name", "Müller".encode("latin-1"))]
    headers = headers_of(httpx.Response(200, headers=raw))
    assert dict(headers) == {"cf-aig-log-id": "01J", "vary": "a, b", "x-name": "Müller"}
    assert (len(headers), headers["vary"], headers.get("none"), headers.get("none", "")) == (3, "a, b", None, "")
    assert ("vary" in headers, "Vary" in headers) == (True, False)


def test_headers_that_are_no_utf_8_are_read_as_the_protocol_has_it():
    headers = headers_of(httpx.Response(200, headers=[(b"X-Name", "Müller".encode("latin-1")), (b"Date", b"today")]))
    assert headers == {"x-name": "Müller", "date": "today"}


def test_headers_that_are_no_httpx_ones_are_left_as_they_are():
    headers = {"cf-aig-log-id": "01J"}
    assert headers_of(SimpleNamespace(headers=headers)) is headers
