"""Masking credentials in whatever spelling a service, or what stands before it, quotes them."""

from __future__ import annotations

import base64
import json
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thumbprint._secrets import LONGEST, MIN_SECRET_LENGTH, Secrets

KEY = "Sup3r/Secret+Key<&>=="
VISIBLE = [chr(code) for code in range(0x21, 0x7F)]
SPECIAL = "\\%&/+=\"'<>;#{}ux25amp"

SPELLINGS = (
    str,
    str.upper,
    str.lower,
    "\\{}".format,
    "\\\\{}".format,
    lambda each: f"%{ord(each):02x}",
    lambda each: f"%{ord(each):02X}",
    lambda each: f"%25{ord(each):02x}",
    lambda each: f"%2525{ord(each):02X}",
    lambda each: f"%u{ord(each):04x}",
    lambda each: f"\\u{ord(each):04x}",
    lambda each: f"\\u{ord(each):04X}",
    lambda each: f"\\\\u{ord(each):04x}",
    lambda each: f"\\U{ord(each):08x}",
    lambda each: f"\\u{{{ord(each):x}}}",
    lambda each: f"\\x{ord(each):02x}",
    lambda each: f"&#{ord(each)};",
    lambda each: f"&#{ord(each):05};",
    lambda each: f"&#x{ord(each):X};",
    lambda each: f"&amp;#{ord(each)};",
    escape,
    lambda each: escape(escape(each)),
)


def masked(text, *values):
    secrets = Secrets()
    secrets.note({f"x-{number}": value for number, value in enumerate(values)})
    return secrets.masked(text)


@st.composite
def spelled(draw):
    """A secret, and each of its characters in some spelling."""
    alphabet = st.one_of(st.sampled_from(VISIBLE), st.sampled_from(SPECIAL))
    secret = draw(st.text(alphabet, min_size=MIN_SECRET_LENGTH + 1, max_size=60))
    return secret, [draw(st.sampled_from(SPELLINGS))(each) for each in secret]


@given(spelled(), st.sampled_from(["", "no ", 'a "', "q=%22", "\\u0022", "&quot;", "%", "&#", "é/"]))
def test_a_secret_is_masked_in_whatever_spelling_each_of_its_characters_is(given, before):
    secret, characters = given
    assert masked(f"{before}{''.join(characters)} here", f"Bearer {secret}") == f"{before}*** here"


@given(spelled(), st.data())
def test_a_secret_is_masked_wherever_it_was_cut(given, data):
    secret, characters = given
    shown = MIN_SECRET_LENGTH + secret.count("\\")  # a backslash may be a literal's, and counts for nothing
    assume(shown < len(secret))
    cut = data.draw(st.integers(shown, len(secret) - 1))
    torn = characters[cut][: data.draw(st.integers(0, len(characters[cut]) - 1))]
    rest = data.draw(st.sampled_from(["", "…", "… (more)"]))
    text = f"HTTP 400: no {''.join(characters[:cut])}{torn}{rest}"
    assert masked(text, f"Bearer {secret}") == f"HTTP 400: no ***{rest}"


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        KEY.upper(),
        KEY.lower(),
        quote(KEY),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        quote(quote(KEY, safe=""), safe=""),
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(KEY.replace("/", "\\/"))),
        KEY.replace("/", "\\u002F").replace("+", "\\u002b"),
        escape(KEY),
        KEY.replace("+", "&#43;").replace("/", "&#x2F;"),
        repr(KEY.encode()),
    ],
)
def test_a_key_is_masked_as_urls_json_and_html_have_it(form):
    told = masked(f"no {form} here", f"Bearer {KEY}")
    assert told.strip("no \"\\bher'") == "***"


def test_of_basic_authentication_the_password_is_masked_and_what_it_was_encoded_to():
    encoded = base64.b64encode(b"public-name:private-word").decode()
    told = masked(f"{encoded} is public-name with private-word, private-w", f"Basic {encoded}")
    assert told == "*** is *** with ***, ***"


@pytest.mark.parametrize("value", ['Token token="0123456789"', "Key key=0123456789,other", "session=0123456789;"])
def test_the_parts_of_a_header_are_masked_by_themselves(value):
    assert masked("0123456789 is wrong", value) == "*** is wrong"


@pytest.mark.parametrize("length", [100, 128, 129, 2000])
def test_of_a_long_secret_the_beginning_is_looked_for_and_its_rest_is_masked_with_it(length):
    secret = (length * "0123456789")[:length]
    told = masked(f'"{secret}" was {secret[:50]}', f"Bearer {secret}")
    assert told == '"***" was ***'


def test_what_is_no_secret_is_left_as_it_is():
    text = "HTTP 401: Bearer of bad%20news; 7 &amp; 7 \\u002b C:\\x"
    assert masked(text, f"Bearer {KEY}") == text
    assert masked(None, f"Bearer {KEY}") is None


def test_three_dots_may_stand_for_the_rest_of_a_secret():
    assert masked("no 'Sup3r/Secret...'", f"Bearer {KEY}") == "no '***...'"
    assert masked("no Sup3r/Secret. Go", f"Bearer {KEY}") == "no Sup3r/Secret. Go"


def test_no_more_is_told_than_anybody_reads():
    assert masked((LONGEST - 8) * "." + KEY + "and more", KEY) == (LONGEST - 8) * "." + "***"


@pytest.mark.parametrize("secret", [30 * "\\a\\b\\\\c", 30 * "%25&amp;%", 40 * "%&", 40 * "&", 40 * "\\"])
def test_an_answer_made_to_keep_the_search_busy_is_searched_all_the_same(secret):
    escapes = "".join(f"{each}{each}{each}" for each in ("\\", "%25", "&amp;", "\\u005c"))
    for text in (secret[:-1], 50 * escapes, f"{secret[:-1]}{1000 * escapes}", 10_000 * "\\", 3_000 * "%25"):
        assert len(masked(text, f"Bearer {secret}")) <= LONGEST


def test_a_secret_that_is_known_is_masked_however_short_it_is():
    assert Secrets("pw/1", None, "").masked("no pw%2F1, PW\\/1 or pw") == "no ***, *** or pw"


def test_secrets_are_in_no_repr():
    secrets = Secrets()
    secrets.note({"authorization": f"Bearer {KEY}"})
    assert KEY not in repr(secrets)


def test_a_header_that_is_no_text_is_masked_too():
    assert masked("no 0123456789", b"Bearer 0123456789") == "no ***"
