"""The WSGI middleware, called in odd ways by the protocol itself."""

from __future__ import annotations

import io
import sys
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
import web_clients

import thumbprint
from thumbprint.web.wsgi import FeedbackEndpoint, ThumbprintMiddleware

HEADERS = [("Content-Type", "text/plain")]


class Server:
    """The server's side: what it was told, and what it got."""

    def __init__(self, app, *, headers=(), environ=None, **settings):
        self.started, self.written = [], []
        app = ThumbprintMiddleware(app, **settings)
        self.body = app(web_clients.wsgi_environ("GET", headers=headers, **(environ or {})), self.start_response)

    def start_response(self, *told):
        self.started.append(told)
        return self.written.append

    @property
    def id(self):
        return dict(self.started[-1][1])["x-feedback-id"]


def here():
    return thumbprint.current_scope() and thumbprint.current_scope().id


def test_a_list_goes_to_the_server_as_it_is():
    body, seen = [b"a"], []

    def app(environ, start_response):
        seen.append(here())
        start_response("200 OK", HEADERS)
        return body

    server = Server(app)
    assert server.body is body
    assert [server.id] == seen
    ours = [("x-feedback-id", seen[0]), ("access-control-expose-headers", "x-feedback-id, x-feedback-token")]
    assert server.started == [("200 OK", HEADERS + ours)]
    assert here() is None


def test_a_file_goes_to_the_server_as_it_is():
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"a"))

    assert type(Server(app, environ={"wsgi.file_wrapper": FileWrapper}).body) is FileWrapper


def test_each_step_of_a_generator_runs_inside_one_scope_and_its_server_outside():
    seen = []

    def app(environ, start_response):
        seen.append(here())
        start_response("200 OK", HEADERS)  # late: at the first step
        try:
            yield b"a"
            seen.append(here())
            yield b"b"
        finally:
            seen.append(here())

    server = Server(app)
    assert server.started == []
    assert next(iter(server.body)) == b"a"
    assert here() is None
    assert list(server.body) == [b"b"]
    server.body.close()
    assert seen == [server.id] * 3


def test_a_response_that_is_closed_early_is_closed_inside_the_scope():
    seen = []

    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        try:
            yield b"a"
            yield b"never"
        finally:
            seen.append(here())

    server = Server(app)
    next(server.body)
    server.body.close()
    assert seen == [server.id]
    assert here() is None


def test_an_iterable_without_close_and_one_whose_close_fails():
    class Bare:
        def __iter__(self):
            return iter([b"a"])

    class Failing(Bare):
        def close(self):
            raise KeyError("the application's own")

    def app_of(body):
        def app(environ, start_response):
            start_response("200 OK", HEADERS)
            return body

        return app

    server = Server(app_of(Bare()))
    assert list(server.body) == [b"a"]
    server.body.close()
    with pytest.raises(KeyError, match="own"):
        Server(app_of(Failing())).body.close()
    assert here() is None


def test_start_response_twice_with_exc_info_and_write_pass_through():
    def app(environ, start_response):
        write = start_response("200 OK", HEADERS)
        write(b"early")
        try:
            {}["inside"]
        except KeyError:
            start_response("500 Oops", HEADERS, sys.exc_info())
        return [b"x"]

    server = Server(app)
    assert server.written == [b"early"]
    assert [told[0] for told in server.started] == ["200 OK", "500 Oops"]
    assert server.started[1][2][0] is KeyError
    assert len({dict(told[1])["x-feedback-id"] for told in server.started}) == 1


@pytest.mark.parametrize("generator", [True, False])
def test_an_exception_passes_through(generator):
    def app(environ, start_response):
        raise KeyError("the application's own")

    def late(environ, start_response):
        yield b"a"
        raise KeyError("the application's own")

    with pytest.raises(KeyError, match="own"):
        list(Server(late if generator else app).body)
    assert here() is None


def test_headers_that_are_none_pass_for_the_server_to_judge(caplog):
    def app(environ, start_response):
        start_response("200 OK", 5)
        return []

    assert Server(app).started == [("200 OK", 5)]
    assert "leaves without our headers" in caplog.text


@pytest.mark.parametrize(("given", "taken"), [("m-1", True), ("a,b", False)])
def test_a_trusted_header_gives_the_id(given, taken):
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b""]

    server = Server(app, headers=[("X-Request-Id", given)], trust_header="x-request-id")
    assert (server.id == given) is taken


def test_a_predicate_that_fails_costs_the_request_its_scope_and_no_more(caplog):
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b""]

    server = Server(app, trust_header="x-id", trust_if=lambda environ: 1 / 0)
    assert server.started == [("200 OK", HEADERS)]
    assert "a request has no scope" in caplog.text


def test_it_keeps_to_the_protocol_and_tells_what_others_may_read(secret):
    def app(environ, start_response):
        start_response("200 OK", [*HEADERS, ("Access-Control-Expose-Headers", "x-a")])
        return iter([b"a"])

    server = {}

    def start_response(status, headers, exc_info=None):
        server.update(headers)
        return server.setdefault

    checked = validator(ThumbprintMiddleware(validator(app)))
    environ = web_clients.wsgi_environ("GET")
    del environ["CONTENT_LENGTH"]
    body = checked(environ, start_response)
    assert list(body) == [b"a"]
    body.close()
    assert server["Access-Control-Expose-Headers"] == "x-a, x-feedback-id, x-feedback-token"
    assert thumbprint._default._get().granted(server["x-feedback-token"]).scope_id == server["x-feedback-id"]


# the endpoint's bodies


class Dripping(io.BytesIO):
    """Gives a byte at a time, and counts."""

    def read(self, size=-1):
        assert size >= 0
        return super().read(min(size, 1000))


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"wsgi.input_terminated": True}, 413),
        ({}, 400),  # no length and no end: there is no body
    ],
)
def test_a_body_without_a_length_is_read_where_the_server_knows_its_end(environ, status):
    given = web_clients.wsgi_environ(headers=[("Content-Type", "application/json")], **environ)
    del given["CONTENT_LENGTH"]
    given["wsgi.input"] = Dripping(b" " * 50_000)
    started = []
    FeedbackEndpoint()(given, lambda *told: started.append(told))
    assert int(started[0][0][:3]) == status
    assert given["wsgi.input"].tell() <= 17_000


def test_a_body_that_breaks_off_is_refused():
    class Broken:
        def read(self, size):
            raise ConnectionResetError

    given = web_clients.wsgi_environ(headers=[("Content-Type", "application/json")], body=b"{}")
    started = []
    body = FeedbackEndpoint()(given | {"wsgi.input": Broken()}, lambda *told: started.append(told))
    assert started[0][0] == "400 Bad Request"
    assert b"broken off" in b"".join(body)
