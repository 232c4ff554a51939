"""The endpoint, called in odd ways by ASGI itself."""

from __future__ import annotations

import asyncio

import web_clients

from thumbprint.web.asgi import FeedbackEndpoint

JSON = [("Content-Type", "application/json")]


def called(**request):
    return asyncio.run(web_clients.asgi_call(FeedbackEndpoint(), headers=JSON, **request))


def test_a_long_body_without_a_length_is_read_no_further():
    sent, read = called(chunks=[b" " * 1000] * 100)
    assert sent[0]["status"] == 413
    assert read == 17


def test_a_client_that_goes_away_is_not_answered():
    assert called(chunks=[]) == ([], 0)


def test_a_websocket_is_refused_and_a_lifespan_left_alone():
    assert called(scope={"type": "websocket"})[0] == [{"type": "websocket.close", "code": 1000}]
    assert called(scope={"type": "lifespan"})[0] == []
