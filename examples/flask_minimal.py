"""Flask with thumbs: the middleware hands out a token with each answer, the endpoint takes the vote.

    python examples/flask_minimal.py --once    # asks and votes once, and ends; without --once it serves

Needs `pip install flask`. Where no gateway is configured (OPENAI_BASE_URL), thumbprint's emulator plays one.
"""

from __future__ import annotations

import os
import sys

from flask import Flask, request
from openai import OpenAI
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import thumbprint
from thumbprint.emulator import Emulator
from thumbprint.web.wsgi import FeedbackEndpoint, ThumbprintMiddleware


def make_app() -> Flask:
    """Return the application, for the gateway that the environment names."""
    app = Flask(__name__)
    client = thumbprint.wrap(OpenAI())

    @app.post("/ask")
    def ask() -> str:
        messages = [{"role": "user", "content": request.form["question"]}]
        return client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content

    app.wsgi_app = DispatcherMiddleware(ThumbprintMiddleware(app.wsgi_app), {"/feedback": FeedbackEndpoint()})
    return app


def once(app: Flask) -> None:
    """Do what a browser would: ask, keep the token, and vote with it."""
    browser = app.test_client()
    answer = browser.post("/ask", data={"question": "Where is Ulm?"})
    print("answer:", answer.text)
    vote = browser.post("/feedback", json={"token": answer.headers["x-feedback-token"], "thumbs": "up"})
    print("vote:", vote.status)
    print("delivered:", thumbprint.flush(timeout=10).delivered)


if __name__ == "__main__":
    os.environ.setdefault("THUMBPRINT_SECRET", os.urandom(32).hex())  # in earnest: one that outlives the process
    if not os.environ.get("OPENAI_BASE_URL"):
        os.environ.update(Emulator().start().environ())
    once(make_app()) if "--once" in sys.argv else make_app().run(port=5000)
