"""Backends of third parties: the one that the README shows, and those of installed packages."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import openai
import pytest

import thumbprint
from thumbprint import ConfigurationError, LogRef
from thumbprint._config import default_backends, settings_from

README = Path(__file__).parent.parent / "README.md"
PATIENCE = 20.0


def shown():
    """Return the code of the README's own backend."""
    [code] = [
        block
        for block in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
        if "class Acme" in block
    ]
    return code


@pytest.fixture
def acme():
    names = {}
    exec(compile(shown(), str(README), "exec"), names)  # noqa: S102 - our own README
    return names["Acme"]


@pytest.fixture
def service():
    """Serve a model whose answers bear the header, and take verdicts; `verdicts` is what came."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, headers, answer = 200, {}, {}
            if self.path.startswith("/v1/"):
                headers["x-acme-trace"] = f"trace/{len(server.traces)}"
                server.traces.append(headers["x-acme-trace"])
                message = {"role": "assistant", "content": "At the Danube."}
                answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
                answer |= {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            else:
                status = server.statuses.pop(0) if server.statuses else 201
                server.verdicts.append((self.path, self.headers["authorization"], said, status))
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json", "content-length": len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.traces, server.verdicts, server.statuses = [], [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def ask(ours, service):
    with httpx.Client(trust_env=False) as http_client:
        client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", http_client=http_client)
        return ours.wrap(client).chat.completions.create(model="m", messages=[{"role": "user", "content": "Ulm?"}])


def test_the_backend_that_the_readme_shows_is_short():
    assert len(shown().splitlines()) < 60


def test_the_backend_that_the_readme_shows_is_retried_merged_and_told_of_like_our_own(acme, service):
    ours = thumbprint.Thumbprint(backends=[acme(api_key="acme-key", url=service.url)])
    completion = ask(ours, service)
    service.statuses[:] = [500, 503]
    receipts = [
        ours.record_feedback(completion, thumbs="up", score=0.5),
        ours.record_feedback(completion, thumbs="down", comment="Wrong city."),
    ]
    assert {receipt.wait(PATIENCE).status for receipt in receipts} == {"delivered"}
    assert receipts[0].outcomes[0].unsupported == ("score",)
    assert {path for path, *_ in service.verdicts} == {"/traces/trace%2F0/verdicts"}
    assert service.verdicts[-1][1:3] == ("Bearer acme-key", {"good": False, "comment": "Wrong city."})
    assert ours.record_feedback(completion, score=0.5).status == "dropped"
    assert "acme-key" not in repr(ours._settings)
    ours.close()


def test_its_refusals_are_dead_letters_and_its_settings_come_from_the_environment(acme, service, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "acme-key")
    ours = thumbprint.Thumbprint(backends=[acme()])
    completion = ask(ours, service)
    with pytest.raises(ConfigurationError, match="ACME_URL"):
        ours.record_feedback(completion, thumbs="up")
    ours.close()

    monkeypatch.setenv("ACME_URL", service.url)
    ours = thumbprint.Thumbprint(backends=[acme()])
    service.statuses[:] = [422]
    receipt = ours.record_feedback(completion, thumbs="up").wait(PATIENCE)
    assert (receipt.status, receipt.outcomes[0].reason) == ("failed", "HTTP 422: {}")
    ours.close()


def test_what_says_only_what_it_must_is_a_backend():
    from thumbprint.backends import Backend, Exchange, HttpRequest, judge  # noqa: PLC0415

    class Bare(Backend):
        name = "bare"
        id_headers = ("x-bare",)

        def recognise(self, exchange):
            return None

        def deliver(self, batch):
            return judge((yield HttpRequest(method="POST", url="http://127.0.0.1:9/")))

    bare, ref = Bare(), LogRef(backend="bare", id="1")
    exchange = Exchange(method="POST", url="http://h", request_headers={}, response_headers={})
    assert (bare.batch_size, bare.concurrency, dict(bare.environment)) == (1, 8, {})
    assert (bare.pace, bare.credential, bare.repeats(exchange), bare.unsupported(None)) == (None, None, False, ())
    assert (bare.request_headers("http://h", {}), bare.check(ref), bare.destination(ref)) == ({}, None, "1")
    assert list(settings_from(backends=[bare], environ={}).backends) == ["bare"]


# those of installed packages


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with an entry point, as pip leaves it: metadata in a folder of the path, and a module."""

    def installed(name, module_source, value):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[thumbprint.backends]\n{name} = {value}\n")
        (tmp_path / f"{name}_backend.py").write_text(module_source)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield installed
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_an_installed_backend_is_known_without_being_named(install, service, monkeypatch):
    install("acme", shown(), "acme_backend:Acme")
    monkeypatch.setenv("ACME_API_KEY", "acme-key")
    monkeypatch.setenv("ACME_URL", service.url)
    assert [backend.name for backend in default_backends()] == ["cloudflare", "braintrust", "acme"]

    completion = ask(thumbprint, service)
    assert thumbprint.record_feedback(completion, thumbs="up").wait(PATIENCE).status == "delivered"
    assert service.verdicts[0][1] == "Bearer acme-key"
    assert "acme" not in settings_from(backends=[thumbprint.Cloudflare()], environ={}).backends


def test_the_command_line_knows_it_too(install, service, tmp_path):
    install("acme", shown(), "acme_backend:Acme")
    environ = os.environ | {"ACME_API_KEY": "acme-key", "ACME_URL": service.url, "PYTHONPATH": str(tmp_path)}

    def run(*arguments):
        command = [sys.executable, "-m", "thumbprint", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    done = run("send", "--backend", "acme", "--id", "trace-1", "--thumbs", "down")
    assert (done.returncode, done.stdout) == (0, "delivered: acme trace-1\n"), done.stderr
    [(path, _, said, _)] = service.verdicts
    assert (path, said) == ("/traces/trace-1/verdicts", {"good": False})
    assert "ok       acme: it brings no check of its own" in run("doctor").stdout


@pytest.mark.parametrize(
    ("source", "value", "why"),
    [
        ("1 / 0", "bad_backend:Bad", "ZeroDivisionError"),
        ("", "bad_backend:Bad", "AttributeError"),
        ("", "nowhere:Bad", "ModuleNotFoundError"),
        ("class Bad: pass", "bad_backend:Bad", "backends: an object of type Bad is none"),
        ("from thumbprint import Cloudflare as Bad", "bad_backend:Bad", "a backend of the name 'cloudflare' already"),
        (
            "from thumbprint.backends import Backend\nclass Bad(Backend):\n    name = 'bad'\n    batch_size = 0",
            "bad_backend:Bad",
            "batch_size of 'bad' is 0",
        ),
    ],
)
def test_an_installed_backend_that_cannot_be_used_is_told_and_left_out(install, source, value, why, caplog):
    install("bad", source, value)
    assert [backend.name for backend in default_backends()] == ["cloudflare", "braintrust"]
    assert f"the backend 'bad' of the package bad ({value}) cannot be used, and is left out" in caplog.text
    assert why in caplog.text


def test_its_settings_that_cannot_be_used_are_told_as_those_of_our_own(install, monkeypatch):
    source = shown().replace(
        "    @property",
        "    def __post_init__(self):\n        if self.url == 'bad':\n            raise "
        "thumbprint.ConfigurationError('ACME_URL is bad')\n\n    @property",
        1,
    )
    install("acme", source, "acme_backend:Acme")
    with pytest.raises(ConfigurationError, match="ACME_URL is bad"):
        settings_from(environ={"ACME_URL": "bad"})
