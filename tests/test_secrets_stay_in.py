"""Secrets are planted wherever they can be, services repeat what they are sent, and all that comes out is searched."""

from __future__ import annotations

import gc
import http.server
import json
import logging
import pickle
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import sdk
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from redis_server import Server
from telemetry import Telemetry

import thumbprint
from thumbprint import LogRef, cli
from thumbprint.stores import RedisStore

ACCOUNT = "0123456789abcdef0123456789abcdef"
PROJECT = "b0000000-0000-4000-8000-000000000"
PACKAGE = Path(thumbprint.__file__).parent
STATUSES = (200, 400, 500, 401)  # in this order: the last one pauses its service
PATIENCE = 20.0  # seconds
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Ulm"}}],
}

CLOUDFLARE, BRAINTRUST, SDK, GATEWAY, REDIS, SIGNING = SECRETS = [
    f"{name}Kq81mZx0/pL+secret==" for name in ("cloudflare", "braintrust", "sdk", "gateway", "redis", "signing")
]


def leaked(text):
    """Return the secrets whose beginnings are in a text: no spelling of letters and digits is another, but for case."""
    return [secret for secret in SECRETS if secret[:-14].lower() in text.lower()]


class Parrot(http.server.BaseHTTPRequestHandler):
    """Plays gateways and APIs; which status an API answers is the number of the gateway or project in the path."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        """Answer any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if self.raw_requestline and self.parse_request():
            self.play()
        else:
            self.close_connection = True

    def play(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status = int(re.search(rf"/(?:s|{PROJECT})(\d{{3}})/", f"{self.path}/s500/")[1])
        said = " ".join(self.headers.values())
        if self.path.endswith("/chat/completions"):
            ids = {"cf-aig-log-id": f"log-{status}", "x-bt-span-id": f"row-{status}"}
            self.answer(200, json.dumps(ANSWER), said, ids)
        else:
            self.answer(status, repeated(said, as_json=status == 200), said, {})

    def answer(self, status, body, said, ids):
        self.send_response(status, f"you said {said}")
        for name, value in {"x-echo": said, "content-length": str(len(body)), **ids}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


def repeated(said, *, as_json):
    spelled = [said, quote(said, safe=" ").lower(), json.dumps(said).replace("/", "\\u002F"), said.upper()]
    if as_json:
        held = {"id": "log-200", "metadata": {"comment": said}, "feedback": 1}
        return json.dumps({"success": True, "result": held, "objects": spelled, "events": [held]})
    return " and ".join(spelled)


@pytest.fixture
def parrot(monkeypatch):
    """Run a parrot, and have the environment send everybody there with the planted secrets."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Parrot)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "CLOUDFLARE_API_TOKEN": CLOUDFLARE,
        "CLOUDFLARE_BASE_URL": f"{url}/client/v4",
        "BRAINTRUST_API_KEY": BRAINTRUST,
        "BRAINTRUST_API_URL": url,
        "THUMBPRINT_SECRET": SIGNING,
    }.items():
        monkeypatch.setenv(name, value)
    yield url
    thumbprint.shutdown(0)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def telemetry(monkeypatch):
    """Set up an SDK, and the instrumentation of httpx, told to keep all headers."""
    for name in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{name}", ".*")
    telemetry = Telemetry()
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", telemetry.logger_provider)
    yield telemetry
    HTTPXClientInstrumentor().uninstrument()


class Heard(logging.Handler):
    """Keeps all records of all loggers as text; of what others say while the application makes its calls, nothing."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.others_too = False
        self.lines = []

    def emit(self, record):
        if self.others_too or record.name.startswith("thumbprint"):
            self.lines.append(f"{record.name}: {self.format(record)}")


@pytest.fixture
def heard():
    """Listen to the root logger at its lowest level."""
    root, handler = logging.getLogger(), Heard()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture(params=["sqlite", "redis"])
def rows(request, tmp_path, monkeypatch):
    """Set up a store; return what tells all that is in it, as bytes."""
    if request.param == "sqlite":
        monkeypatch.setenv("THUMBPRINT_STORE", f"sqlite:///{tmp_path}/outbox.db")
        yield lambda: b"\n".join(path.read_bytes() for path in Path(tmp_path).iterdir())
        return
    with Server(password=REDIS, durable=True) as server:
        monkeypatch.setenv("THUMBPRINT_STORE", f"redis://:{quote(REDIS, safe='')}@127.0.0.1:{server.port}/0")
        yield lambda: b"\n".join(path.read_bytes() for path in server.folder.rglob("*.aof"))


def call(url, status, **kwargs):
    """Make a call by way of both gateways; return the answer and its scope."""
    headers = {"cf-aig-authorization": f"Bearer {GATEWAY}", "x-bt-parent": f"project_id:{PROJECT}{status}"}
    client = sdk.openai_client(f"{url}/v1/{ACCOUNT}/s{status}/openai", api_key=SDK, default_headers=headers)
    with thumbprint.scope() as scope:
        return thumbprint.wrap(client).chat.completions.create(model="gpt-5", messages=sdk.asked(), **kwargs), scope


def tried(receipt):
    """Return the receipt when each of its deliveries was tried."""
    ends_at = time.monotonic() + PATIENCE
    while not all(outcome.attempts or outcome.status != "queued" for outcome in receipt.outcomes):
        assert time.monotonic() < ends_at, receipt
        time.sleep(0.01)
    return receipt


def shown(*values):
    """Return values as whoever looks at them sees them."""
    return "\n".join(f"{value} {value!r}" for value in values)


def as_debuggers_show(value):
    try:
        return repr(value)
    except AttributeError:  # it was not made to its end
        return ""


def everything_told(error):
    """Return an error with all that it drags along, whether or not that is shown, and the locals of our own frames."""
    told = ["".join(traceback.format_exception(error))]
    while error is not None:
        told.append(shown(error, error.args, vars(error)))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                told += map(as_debuggers_show, frame.f_locals.values())
        error = error.__cause__ or error.__context__
    return "\n".join(told)


def environment(**variables):
    """Make a Thumbprint in an environment that has these variables besides."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        thumbprint.Thumbprint()


def refusals():
    """Yield the errors that planted settings and arguments are refused with."""
    token = thumbprint.token_for(LogRef(backend="cloudflare", id="log-400"))
    for refused in (
        lambda: thumbprint.Cloudflare(api_token=f"{CLOUDFLARE}\n"),
        lambda: thumbprint.Braintrust(api_key=f" {BRAINTRUST}"),
        lambda: environment(CLOUDFLARE_API_TOKEN=f"{CLOUDFLARE} x"),
        lambda: environment(BRAINTRUST_API_KEY=f"{BRAINTRUST} x"),
        lambda: environment(THUMBPRINT_STORE=REDIS),
        lambda: environment(THUMBPRINT_STORE=f"redis://:{quote(REDIS, safe='')}@127.0.0.1/0?unknown=1"),
        lambda: thumbprint.configure(store=f"redis://:{REDIS}@127.0.0.1"),
        lambda: thumbprint.Thumbprint(store=f"redis://:{REDIS}@127.0.0.1"),
        lambda: RedisStore(f"redis://:{REDIS}@127.0.0.1"),
        lambda: RedisStore(f"redis://:{quote(REDIS, safe='')}@127.0.0.1/0?unknown=1"),
        lambda: RedisStore(f"redis://:{quote(REDIS, safe='')}@127.0.0.1:1").depths(),
        lambda: thumbprint.Thumbprint(store=f"redis://user:12{REDIS}@127.0.0.1"),
        lambda: thumbprint.Thumbprint(store=f"redis://:{quote(REDIS, safe='')}@127.0.0.1/0?unknown=1"),
        lambda: thumbprint.Thumbprint(store=f"postgres://:{REDIS}@127.0.0.1"),
        lambda: thumbprint.Thumbprint(store=REDIS),
        lambda: thumbprint.Thumbprint(secret=f"{SIGNING},short"),
        lambda: thumbprint.Thumbprint(backends=[thumbprint.Cloudflare(api_token=CLOUDFLARE)] * 2),
        lambda: thumbprint.Thumbprint(secret=SIGNING, expire_after=-1),
        lambda: thumbprint.record_feedback(f"{token}x", thumbs="up"),
        lambda: thumbprint.record_feedback(LogRef(backend="cloudflare", id="x"), thumbs="up"),
        lambda: thumbprint.record_feedback(object(), thumbs="up"),
    ):
        with pytest.raises(thumbprint.ThumbprintError) as caught:
            refused()
        yield everything_told(caught.value)


def ours():
    """Return all objects of thumbprint's own classes that live in this process."""
    return [each for each in gc.get_objects() if str(type(each)).startswith("<class 'thumbprint")]


def run_commands(monkeypatch):
    """Run the commands that tell of services and of the outbox, with the settings of each gateway and project."""
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
    for status in STATUSES:
        monkeypatch.setenv("CLOUDFLARE_GATEWAY_ID", f"s{status}")
        monkeypatch.setenv("BRAINTRUST_PARENT", f"project_id:{PROJECT}{status}")
        entry = ["--backend", "cloudflare", "--id", f"log-{status}", "--thumbs", "up", "--comment", "c"]
        for command in (["doctor"], ["doctor", "--json"], ["verify", *entry], ["verify", *entry, "--json"]):
            cli.main(command)
        cli.main(["send", *entry, "--timeout", "0.5"])
    for command in ([], ["list"], ["list", "--dead"]):
        cli.main(["outbox", *command])
        cli.main(["outbox", "--json", *command])


def run_worker():
    """Run a worker until it warns of something; return its output."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    worker = subprocess.Popen([sys.executable, "-m", "thumbprint", "worker", "--grace", "1"], **piped)
    watchdog = threading.Timer(3 * PATIENCE, worker.kill)
    watchdog.start()
    warning = worker.stderr.readline()
    worker.terminate()
    stdout, stderr = worker.communicate()
    watchdog.cancel()
    assert worker.returncode == 0
    return stdout + warning + stderr


def test_nothing_that_comes_out_has_a_secret_in_it(parrot, telemetry, heard, rows, capsys):
    with telemetry.span():
        calls = {status: call(parrot, status) for status in STATUSES}
    heard.others_too = True
    HTTPXClientInstrumentor().instrument(tracer_provider=telemetry.tracer_provider)
    told = {"calls": shown(*(value for pair in calls.values() for value in pair))}
    told["pickles"] = str([pickle.dumps(answer) for answer, _ in calls.values()])
    told["tokens"] = str([scope.token() for _, scope in calls.values()])

    receipts = []
    for answer, _ in calls.values():
        receipts.append(tried(thumbprint.record_feedback(answer, thumbs="down", comment="no", expected=1)))
    receipts[0].wait(PATIENCE)
    told["receipts"] = shown(*(each for receipt in receipts for each in (receipt, *receipt.outcomes)))
    told["verification"] = shown(*(receipt.verify(timeout=PATIENCE) for receipt in receipts))
    told["objects"] = "\n".join(map(repr, ours()))
    told["refusals"] = "\n".join(refusals())

    with pytest.MonkeyPatch.context() as monkeypatch:
        run_commands(monkeypatch)
    cli.main(["outbox", "--store", f"redis://:{quote(REDIS, safe='')}@127.0.0.1/0?unknown=1"])
    told |= dict(zip(("stdout", "stderr of commands"), capsys.readouterr(), strict=True))
    told["worker"] = run_worker()

    httpx.get(f"{parrot}/s400/")
    thumbprint.shutdown(0)
    told["rows"] = rows().decode(errors="replace")
    told["log"] = "\n".join(heard.lines)
    told["telemetry"] = shown(telemetry.spans, telemetry.events)

    # That all of it was there to be searched:
    assert [receipt.status for receipt in receipts] == ["delivered", "failed", "queued", "queued"]
    assert told["receipts"].count("***") > 8
    assert "HTTP Request: GET" in told["log"]  # the application's own, and alone in being traced
    assert len(telemetry.spans) == 2
    assert "refuses the credentials" in told["log"]
    assert "warning: " in told["worker"]
    assert "***" in told["rows"]
    for where, text in told.items():
        assert text, where
        assert leaked(text) == [], where
