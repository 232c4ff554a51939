"""How the values on a command line are read."""

from __future__ import annotations

import json

from thumbprint.commands import _arguments


def test_json_and_plain_words_are_both_values():
    assert _arguments.any_json('{"a": 1}') == json.loads('{"a": 1}')
    assert _arguments.any_json("/help") == "/help"
    assert _arguments.any_json("[" * 50_000) == "[" * 50_000
