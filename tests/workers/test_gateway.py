"""The backend that reaches log entries by a Worker's binding, and what it needs for that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import javascript
import pytest
import unmeasured

import thumbprint
from thumbprint import ConfigurationError, workers
from thumbprint.backends import Carried, Confirmable, Diagnosable, Findable, known_home


def binding():
    return javascript.Ai(javascript.Service({}))


def test_backends_by_the_same_binding_are_equal_however_it_is_wrapped():
    own = binding()
    one = workers.AIGateway(own, gateway_id="production")
    assert one == workers.AIGateway(javascript.Wrapper(own), gateway_id="production")
    assert one == workers.AIGateway(workers.wrap(own), gateway_id="production")
    assert one != workers.AIGateway(own)
    assert one != workers.AIGateway(binding(), gateway_id="production")


def test_it_says_what_it_is_and_shows_no_binding():
    backend = workers.AIGateway(binding(), gateway_id="production")
    assert repr(backend) == "AIGateway(gateway_id='production')"
    assert (backend.name, backend.pace, backend.credential) == ("cloudflare", None, None)
    assert known_home(backend) == {"gateway_id": "production"}
    assert isinstance(backend, Carried)
    for asked in (Confirmable, Diagnosable, Findable):  # which would take a token
        assert not isinstance(backend, asked)


def test_its_gateway_comes_from_the_environment_and_has_to_be_a_string(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_GATEWAY_ID", "production")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "needs-none")
    ours = thumbprint.Thumbprint(backends=[workers.AIGateway(binding())], delivery="inline")
    assert ours._settings.backends["cloudflare"].gateway_id == "production"
    with pytest.raises(ConfigurationError, match=r"CLOUDFLARE_GATEWAY_ID .* is of type int"):
        workers.AIGateway(binding(), gateway_id=17)


def test_a_log_entry_whose_id_would_lead_elsewhere_is_refused():
    backend = workers.AIGateway(binding(), gateway_id="production")
    backend.check(thumbprint.LogRef(backend="cloudflare", id="1"))
    with pytest.raises(ConfigurationError, match="in no URL"):
        backend.check(thumbprint.LogRef(backend="cloudflare", id=".."))


def test_an_sdk_that_converts_in_another_way_is_refused():
    class Unheard:
        def __init__(self, inner):
            self._binding = inner

        def run(self):
            pass

    with pytest.raises(
        thumbprint.UnsupportedClientError, match=r"workers-runtime-sdk .* not an object of type .*Unheard"
    ):
        workers.wrap(Unheard(binding()))


def test_a_backend_with_a_fault_costs_captures_and_no_call(monkeypatch):
    class Faulty(workers.AIGateway):
        def recognise(self, exchange):
            raise RuntimeError("recognise")

    for name, module in javascript.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    own = javascript.Ai(javascript.Service({"@test/chat": {"json": {"response": "At the Danube."}}}))
    thumbprint.configure(backends=[Faulty(own)], delivery="inline")

    async def ask():
        with thumbprint.scope() as scope:
            options = javascript.JSON.parse('{"gateway": {"id": "production"}}')
            answer = await workers.wrap(own).run("@test/chat", javascript.JSON.parse("{}"), options)
        return answer.response, scope.refs

    assert asyncio.run(ask()) == ("At the Danube.", ())


def test_a_module_of_a_worker_may_import_decorate_and_configure_without_any_chance():
    code = textwrap.dedent("""
        import os
        import random

        import opentelemetry.baggage

        def refused(*_):
            raise OSError("Cannot get entropy outside of request context")

        os.urandom = random.random = refused

        import thumbprint
        import thumbprint.workers

        @thumbprint.scope()
        def handler():
            return thumbprint.current_scope()

        class AI:
            def run(self): ...

        thumbprint.workers.configure(AI(), secret="a secret of the Worker's own")
        thumbprint.workers.wrap(AI())
        """)
    subprocess.run([sys.executable, "-c", code], check=True, env=unmeasured.environ(), timeout=60)
