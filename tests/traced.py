"""Services whose calls and votes are traced, as programs: `traced.py ROLE [ARGUMENT]`; each prints one line of JSON.

answer ID   makes a call inside a span and the scope ID, and prints its spans
vote ID     votes on what is known under ID, inside a span of its own, and prints its events and its own trace id
serve       makes a call for each request in the context that came with it; prints its URL, ends with its stdin
delegate    asks the service at ARGUMENT inside a scope, then votes by the scope's id; prints what became of that
            within so many seconds
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import urllib.request

import openai
import sdk
from opentelemetry import _logs, propagate, trace
from opentelemetry.context import attach, detach
from telemetry import Telemetry

import thumbprint

telemetry = Telemetry()


def ask():
    with openai.OpenAI(max_retries=0) as client:
        thumbprint.wrap(client).chat.completions.create(model="gpt-5", messages=sdk.asked())


def answer(message_id):
    with telemetry.span(), thumbprint.scope(id=message_id):
        ask()
    return telemetry.spans


def vote(message_id):
    with telemetry.span("vote") as span:
        receipt = thumbprint.record_feedback(message_id, thumbs="up").wait(20)
    return {
        "status": receipt.status,
        "events": telemetry.events,
        "trace_id": trace.format_trace_id(span.get_span_context().trace_id),
    }


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = attach(propagate.extract(self.headers))
        try:
            with telemetry.span("served"):
                ask()
        finally:
            detach(token)
        thumbprint.shutdown(20)  # what was captured is in the store now
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


def serve():
    with http.server.HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps(f"http://127.0.0.1:{server.server_port}"), flush=True)  # noqa: T201
        sys.stdin.read()
        server.shutdown()


def delegate(url, patience):
    headers = {}
    with telemetry.span() as span, thumbprint.scope() as scope:
        propagate.inject(headers)
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30):
            pass
    receipt = thumbprint.record_feedback(scope.id, thumbs="down").wait(float(patience))
    return {
        "own_calls": len(scope.refs),
        "status": receipt.status,
        "trace_id": trace.format_trace_id(span.get_span_context().trace_id),
        "ref": receipt.outcomes[0].ref.to_dict(),
    }


if __name__ == "__main__":
    trace.set_tracer_provider(telemetry.tracer_provider)
    _logs.set_logger_provider(telemetry.logger_provider)
    role, *arguments = sys.argv[1:]
    told = {"answer": answer, "vote": vote, "serve": serve, "delegate": delegate}[role](*arguments)
    thumbprint.shutdown(float(arguments[1]) if role == "delegate" else 20)
    if told is not None:
        print(json.dumps(told))  # noqa: T201
