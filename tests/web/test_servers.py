"""Middleware, endpoint and decorator inside FastAPI, Starlette, Flask and Django, under real servers."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import threading
import types
from typing import Annotated

import django
import flask
import httpx
import pytest
import sdk
import web_clients
import websockets.sync.client
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import thumbprint
from thumbprint.web import asgi, wsgi

HTML = {"Accept": "text/html"}


class Model:
    """What the applications under test ask; `last_scope` and `done` tell of the work that no response shows."""

    def __init__(self, client):
        self._client = client
        self.later = []
        self.done = threading.Event()

    def ask(self):
        self._client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        return self.here()

    def here(self):
        return thumbprint.current_scope().id

    def work_later(self):
        self.ask()
        self.later.append(self.here())
        self.done.set()

    def stream(self):
        yield f"data: {self.here()}\n\n"
        yield f"data: {self.ask()}\n\n"
        self.done.set()

    async def astream(self):
        yield f"data: {self.here()}\n\n"
        yield f"data: {await asyncio.to_thread(self.ask)}\n\n"
        self.done.set()


def question(q: str = "Ulm?"):
    return q


def fastapi_app(model):
    app = FastAPI()

    @app.get("/chat")
    def chat(background: BackgroundTasks, q: Annotated[str, Depends(question)]):
        background.add_task(model.work_later)
        return {"scope": model.ask(), "q": q}

    @app.get("/stream")
    async def stream():
        return StreamingResponse(model.astream(), media_type="text/event-stream")

    @app.get("/sync-stream")
    def sync_stream():
        return StreamingResponse(model.stream(), media_type="text/event-stream")

    @app.get("/decorated")
    @thumbprint.scope()
    async def decorated(n: int, q: Annotated[str, Depends(question)]):
        return {"scope": model.here(), "n": n, "q": q}

    @app.get("/fails")
    def fails():
        raise KeyError("the application's own")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket):
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_text(await asyncio.to_thread(model.ask))

    app.mount("/feedback", asgi.FeedbackEndpoint())
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], expose_headers=["x-a"])
    app.add_middleware(asgi.ThumbprintMiddleware)
    return app


def starlette_app(model):
    async def chat(request):
        scope = await asyncio.to_thread(model.ask)
        return JSONResponse({"scope": scope, "q": "Ulm?"}, background=BackgroundTask(model.work_later))

    async def stream(request):
        return StreamingResponse(model.astream(), media_type="text/event-stream")

    async def sync_stream(request):
        return StreamingResponse(model.stream(), media_type="text/event-stream")

    @thumbprint.scope()
    async def decorated(request):
        return JSONResponse({"scope": model.here(), "n": int(request.query_params["n"]), "q": "Ulm?"})

    async def fails(request):
        raise KeyError("the application's own")

    routes = [
        Route("/chat", chat),
        Route("/stream", stream),
        Route("/sync-stream", sync_stream),
        Route("/decorated", decorated),
        Route("/fails", fails),
        Mount("/feedback", asgi.FeedbackEndpoint()),
        Route("/vote", asgi.FeedbackEndpoint()),
    ]
    return Starlette(routes=routes, middleware=[Middleware(asgi.ThumbprintMiddleware)])


def flask_app(model):
    app = flask.Flask("test")

    @app.get("/chat")
    def chat():
        return {"scope": model.ask(), "q": "Ulm?"}

    @app.get("/stream")
    def stream():
        return flask.Response(model.stream(), mimetype="text/event-stream")

    @app.get("/decorated")
    @thumbprint.scope()
    def decorated():
        return {"scope": model.here(), "n": int(flask.request.args["n"]), "q": "Ulm?"}

    @app.get("/fails")
    def fails():
        raise KeyError("the application's own")

    app.logger.disabled = True
    mounted = DispatcherMiddleware(app.wsgi_app, {"/feedback": wsgi.FeedbackEndpoint()})
    app.wsgi_app = wsgi.ThumbprintMiddleware(mounted)
    return app


@functools.cache
def django_ready():
    settings.configure(SECRET_KEY="of the tests", ALLOWED_HOSTS=["127.0.0.1"], LOGGING_CONFIG=None, MIDDLEWARE=[])
    django.setup()


def django_handler(model, handler, *, in_async):
    django_ready()

    def chat(request):
        return JsonResponse({"scope": model.ask(), "q": "Ulm?"})

    def stream(request):
        body = model.astream() if in_async else model.stream()
        return StreamingHttpResponse(body, content_type="text/event-stream")

    @thumbprint.scope()
    def decorated(request):
        return JsonResponse({"scope": model.here(), "n": int(request.GET["n"]), "q": "Ulm?"})

    def fails(request):
        raise KeyError("the application's own")

    urls = types.ModuleType("urls")
    urls.urlpatterns = [path("chat", chat), path("stream", stream), path("decorated", decorated), path("fails", fails)]
    settings.ROOT_URLCONF = urls
    from django.urls import clear_url_caches, set_urlconf  # noqa: PLC0415 - Django keeps the last test's

    clear_url_caches()
    set_urlconf(None)
    return handler()


def django_asgi(model):
    application, endpoint = django_handler(model, ASGIHandler, in_async=True), asgi.FeedbackEndpoint()

    async def hand_off(scope, receive, send):
        there = scope["type"] == "http" and scope["path"].startswith("/feedback")
        await (endpoint if there else application)(scope, receive, send)

    return asgi.ThumbprintMiddleware(hand_off)


def django_wsgi(model):
    application, endpoint = django_handler(model, WSGIHandler, in_async=False), wsgi.FeedbackEndpoint()

    def hand_off(environ, start_response):
        there = environ["PATH_INFO"].startswith("/feedback")
        return (endpoint if there else application)(environ, start_response)

    return wsgi.ThumbprintMiddleware(hand_off)


APPS = {
    "fastapi": (fastapi_app, web_clients.uvicorn_running),
    "starlette": (starlette_app, web_clients.uvicorn_running),
    "django-asgi": (django_asgi, web_clients.uvicorn_running),
    "flask": (flask_app, web_clients.waitress_running),
    "django-wsgi": (django_wsgi, web_clients.waitress_running),
}


@pytest.fixture
def model(client):
    return Model(client)


@pytest.fixture(params=APPS)
def browser(request, model):
    make, running = APPS[request.param]
    with running(make(model)) as address, web_clients.speaking(address) as speaking:
        speaking.framework = request.param
        yield speaking


@pytest.fixture
def fastapi(model):
    with web_clients.uvicorn_running(fastapi_app(model)) as address, web_clients.speaking(address) as speaking:
        yield speaking


def votes(emulator):
    assert thumbprint.flush(20).remaining == 0
    return [log["feedback"] for log in emulator.cloudflare_logs()]


def test_a_vote_lands_on_the_call_of_the_request(browser, emulator):
    got = browser.get("/chat")
    assert got.json()["scope"] == got.headers["x-feedback-id"]
    assert got.json()["q"] == "Ulm?"
    said = {"token": got.headers["x-feedback-token"], "thumbs": "up"}
    voted = browser.post("/feedback/", json=said)
    assert voted.status_code == 202
    assert voted.json()["status"] in {"queued", "delivered"}  # by then delivery may have been faster
    assert 1 in votes(emulator)


def test_a_stream_that_calls_the_model_after_its_headers_left_is_one_scope(browser, emulator):
    with browser.stream("GET", "/stream") as got:
        token = got.headers["x-feedback-token"]
        events = [line.strip().removeprefix("data: ") for line in got.iter_lines() if line.strip()]
    assert events == [got.headers["x-feedback-id"]] * 2
    assert browser.post("/feedback/", data={"token": token, "thumbs": "down"}).status_code == 202
    assert votes(emulator) == [-1]


def test_many_requests_at_once_have_a_scope_each(browser):
    found, failed = [], []

    def visit():
        try:
            got = browser.get("/chat")
            found.append((got.json()["scope"], got.headers["x-feedback-id"]))
        except Exception as error:
            failed.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(20)
    assert failed == []
    assert len(set(found)) == 8
    assert all(scope == told for scope, told in found)


def test_a_decorated_handler_keeps_its_parameters_and_has_a_scope_inside_the_requests(browser):
    got = browser.get("/decorated", params={"n": "5"})
    assert {name: got.json()[name] for name in ("n", "q")} == {"n": 5, "q": "Ulm?"}
    assert len(got.json()["scope"]) == 32
    assert got.json()["scope"] != got.headers["x-feedback-id"]


def test_a_client_that_leaves_in_mid_stream_harms_nobody(browser):
    with browser.stream("GET", "/stream") as got:
        next(got.iter_raw())
    assert browser.get("/chat").status_code == 200


def test_what_an_application_raises_is_answered_by_its_own_framework(browser, caplog):
    caplog.set_level("CRITICAL")
    assert browser.get("/fails").status_code == 500


def test_links_forms_and_refusals_work_where_the_endpoint_is_mounted(browser, emulator):
    token = browser.get("/chat").headers["x-feedback-token"]
    page = browser.get("/feedback/", params={"token": token, "thumbs": "up"}, headers=HTML)
    assert page.status_code == 200
    assert 'action="?"' in page.text
    thanked = browser.post("/feedback/?", data={"token": token, "thumbs": "up"}, headers=HTML)
    assert thanked.status_code == 303
    assert thanked.next_request.url.path == "/feedback/"
    assert "Thank you" in browser.send(thanked.next_request).text
    assert browser.head("/feedback/", params={"token": token}).status_code == 200
    assert browser.put("/feedback/").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert browser.post("/feedback/", content=b" " * 20_000).status_code == 413
    assert 1 in votes(emulator)


def chunks(count):
    for _ in range(count):
        yield b" " * 1024


def test_a_chunked_body_is_bounded_too(browser):
    kind = {"Content-Type": "application/json"}
    assert browser.post("/feedback/", content=chunks(40), headers=kind).status_code == 413
    got = browser.post("/feedback/", content=chunks(3), headers=kind)
    assert (got.status_code, got.headers["content-type"]) == (400, "application/problem+json")


def test_a_background_task_runs_inside_the_scope_of_its_request(fastapi, model):
    got = fastapi.get("/chat")
    assert model.done.wait(20)
    assert model.later == [got.headers["x-feedback-id"]]


def test_a_plain_generator_streams_inside_the_scope_too(fastapi):
    got = fastapi.get("/sync-stream")
    assert [line.removeprefix("data: ") for line in got.text.split()[1::2]] == [got.headers["x-feedback-id"]] * 2


def test_a_websocket_has_one_scope_and_the_next_another(fastapi):
    found = []
    for _ in range(2):
        address = f"{fastapi.base_url}".replace("http", "ws").rstrip("/")
        with websockets.sync.client.connect(f"{address}/socket", proxy=None) as socket:
            for _ in range(2):
                socket.send("?")
                found.append(socket.recv(20))
    assert found[0] == found[1] != found[2] == found[3]


def test_pages_of_other_origins_may_read_our_headers_beside_the_applications(fastapi):
    got = fastapi.get("/chat", headers={"Origin": "https://a.example"})
    assert got.headers["access-control-expose-headers"] == "x-a, x-feedback-id, x-feedback-token"


def test_the_endpoint_can_be_a_route(model, client):
    token = thumbprint.token_for(client.chat.completions.create(model="gpt-5", messages=sdk.asked()))
    with web_clients.uvicorn_running(starlette_app(model)) as address:
        got = httpx.post(f"{address}/vote", json={"token": token, "thumbs": "up"}, trust_env=False)
    assert got.status_code == 202


@pytest.mark.parametrize(
    ("module", "running"), [(asgi, web_clients.uvicorn_running), (wsgi, web_clients.waitress_running)]
)
def test_the_endpoint_can_be_the_whole_application(client, emulator, module, running):
    token = thumbprint.token_for(client.chat.completions.create(model="gpt-5", messages=sdk.asked()))
    with running(module.FeedbackEndpoint()) as address, web_clients.speaking(address) as browser:
        files = {"token": (None, token), "thumbs": (None, "down")}
        assert browser.post("/", files=files).status_code == 202
        bad = browser.post("/", content=json.dumps({"token": token}), headers={"Content-Type": "application/json"})
        assert bad.status_code == 400
    assert votes(emulator) == [-1]


@pytest.fixture(params=["uvicorn", "waitress"])
def endpoint(request, client):
    """The address of a server whose whole application is the endpoint."""
    made = {
        "uvicorn": (asgi.FeedbackEndpoint, web_clients.uvicorn_running),
        "waitress": (wsgi.FeedbackEndpoint, web_clients.waitress_running),
    }
    make, running = made[request.param]
    with running(make()) as address:
        yield address


def post_by_hand(address, body, *, length=None):
    """Return a connection on which a request was begun, and the rest of it."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=web_clients.PATIENCE)
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    connection.sendall(f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode())
    return connection, body


def test_who_goes_away_in_the_middle_of_a_body_says_nothing_and_harms_nobody(endpoint, client, emulator):
    answer = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    said = {"token": thumbprint.token_for(answer), "thumbs": "up"}
    connection, body = post_by_hand(endpoint, json.dumps(said).encode(), length=9999)
    connection.sendall(body)
    connection.close()
    assert httpx.post(endpoint, json=said | {"thumbs": "down"}, trust_env=False).status_code == 202
    assert votes(emulator) == [-1]


def test_a_body_that_drips_in_is_waited_for(endpoint, client, emulator):
    answer = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    said = json.dumps({"token": thumbprint.token_for(answer), "thumbs": "up"}).encode()
    connection, body = post_by_hand(endpoint, said)
    for at in range(len(body)):
        connection.sendall(body[at : at + 1])
    with connection, connection.makefile("rb") as answered:
        assert answered.readline().startswith(b"HTTP/1.1 202 ")
    assert votes(emulator) == [1]
