"""A batch job: ask, judge each answer by a rule, and send all scores before the process ends.

    python examples/batch_script.py

Where no gateway is configured (OPENAI_BASE_URL), thumbprint's emulator plays one.
"""

from __future__ import annotations

import os

from openai import OpenAI, OpenAIError

import thumbprint
from thumbprint.emulator import Emulator

QUESTIONS = {"Where is Ulm?": "Ulm", "What flows through it?": "Danube", "How tall is its minster?": "minster"}


def judge(client: OpenAI, question: str, wanted: str) -> str:
    """Ask, score the answer by whether the wanted word is in it, and return a line that tells so."""
    try:
        completion = client.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": question}], timeout=30
        )
    except OpenAIError as error:
        return f"{question} failed: {type(error).__name__}"
    right = wanted in completion.choices[0].message.content
    thumbprint.record_feedback(
        completion,
        thumbs=right,
        scores={"has_word": float(right)},
        expected=wanted,
        tags=["batch"],
        source="external",  # a program judged, not a user
    )
    return f"{question} {'right' if right else 'wrong'}"


def main() -> None:
    """Judge all questions; end with what could not be delivered as the exit status."""
    client = thumbprint.wrap(OpenAI())
    for question, wanted in QUESTIONS.items():
        print(judge(client, question, wanted))
    result = thumbprint.flush(timeout=30)
    print(f"{result.delivered} delivered, {result.failed} failed, {result.remaining} remaining")
    raise SystemExit(min(1, result.failed + result.remaining + result.dropped))


if __name__ == "__main__":
    if not os.environ.get("OPENAI_BASE_URL"):
        os.environ.update(Emulator().start().environ())
    main()
