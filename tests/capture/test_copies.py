"""Copies of captured clients that `copy` makes: each goes its own way, with hooks of its own or with none."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle

import httpx
import openai
import pytest
import sdk

import thumbprint
from thumbprint.capture._hooks import Hook

LOG_ID = "01JADMCQQQBWH3NXZ5GCRN98DP"
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5", "choices": []}
ONE, TWO = "https://one.example.com/v1", "https://two.example.com/v1"


class Hosts:
    """Answers for every host, and keeps where each request went and with which key."""

    def __init__(self):
        self.asked = []

    def __call__(self, request):
        self.asked.append((request.url.host, request.headers.get("authorization")))
        return httpx.Response(200, json=ANSWER, headers={"cf-aig-log-id": LOG_ID})


@pytest.fixture
def hosts():
    return Hosts()


def of_openai(hosts):
    http_client = httpx.Client(transport=httpx.MockTransport(hosts))
    return sdk.closing(openai.OpenAI(base_url=ONE, api_key="one", http_client=http_client))


def of_openai_async(hosts):
    http_client = httpx.AsyncClient(transport=httpx.MockTransport(hosts))
    return openai.AsyncOpenAI(base_url=ONE, api_key="one", http_client=http_client)


def of_httpx(hosts):
    return httpx.Client(base_url=ONE, headers={"authorization": "Bearer one"}, transport=httpx.MockTransport(hosts))


def of_httpx_async(hosts):
    return httpx.AsyncClient(
        base_url=ONE, headers={"authorization": "Bearer one"}, transport=httpx.MockTransport(hosts)
    )


every_client = pytest.mark.parametrize("make", [of_openai, of_openai_async, of_httpx, of_httpx_async])


def moved(client):
    """Have a client go to the other host, with another key."""
    client.base_url = TWO
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        client.api_key = "two"
    else:
        client.headers = {"authorization": "Bearer two"}
    return client


async def asking(client):
    """Ask by the client's own method: what hangs on it (`chat`) may be bound to the client that was copied."""
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        body = {"model": "gpt-5", "messages": sdk.asked()}
        answer = client.post("/chat/completions", cast_to=openai.types.chat.ChatCompletion, body=body)
    else:
        answer = client.post("chat/completions", json={})
    return await answer if inspect.isawaitable(answer) else answer


def captured_of(client):
    """Make a call; return the ids of what was captured of it."""
    with thumbprint.scope() as scope:
        asyncio.run(asking(client))
    return [ref.id for ref in scope.refs]


def hooks_on(client):
    return [name for name, value in vars(client).items() if isinstance(value, Hook)]


@every_client
def test_a_copy_goes_where_it_is_told_to_with_its_own_key_and_is_captured(make, hosts):
    client = thumbprint.wrap(make(hosts))
    copied = moved(copy.copy(client))
    assert type(copied) is type(client)
    assert captured_of(copied) == captured_of(client) == [LOG_ID]
    assert hosts.asked == [("two.example.com", "Bearer two"), ("one.example.com", "Bearer one")]


@every_client
def test_a_copy_of_a_copy_does_so_too(make, hosts):
    copied = moved(copy.copy(copy.copy(thumbprint.wrap(make(hosts)))))
    assert captured_of(copied) == [LOG_ID]
    assert hosts.asked == [("two.example.com", "Bearer two")]


@every_client
def test_unwrapping_a_client_or_its_copy_leaves_the_other_one_captured(make, hosts):
    client = thumbprint.wrap(make(hosts))
    first, second = copy.copy(client), copy.copy(client)
    thumbprint.unwrap(first)
    assert (captured_of(first), captured_of(client), captured_of(second)) == ([], [LOG_ID], [LOG_ID])
    thumbprint.unwrap(client)
    assert (captured_of(client), captured_of(second)) == ([], [LOG_ID])
    assert hooks_on(client) == hooks_on(first) == []


@every_client
def test_a_copy_of_what_is_not_wrapped_any_more_has_no_hooks(make, hosts):
    client = thumbprint.wrap(make(hosts))
    before = set(vars(make(hosts)))
    copied = copy.copy(thumbprint.unwrap(client))
    assert set(vars(copied)) == before
    assert captured_of(copied) == []


def test_hooks_that_are_off_under_somebody_elses_wrapper_go_to_no_copy(hosts):
    """What others put on the client goes to its copies as before: to whom theirs are bound is theirs to see."""
    client = thumbprint.wrap(of_openai(hosts))
    reduce_ex = client.__reduce_ex__

    def theirs(protocol):
        return reduce_ex(protocol)

    client.__reduce_ex__ = theirs
    thumbprint.unwrap(client)
    copied = copy.copy(client)
    assert hooks_on(copied) == []
    assert captured_of(moved(copied)) == []
    assert hosts.asked == [("two.example.com", "Bearer two")]


class Client:
    """A client of the same kind that can be pickled."""

    def __init__(self):
        self.settings = {"timeout": [5]}

    def _process_response(self, *, response):
        return self.settings

    def _make_status_error_from_response(self, response):
        return ValueError(response)


class Slotted(Client):
    """One with an attribute in a slot."""

    __slots__ = ("place",)

    def __init__(self):
        super().__init__()
        self.place = "Ulm"


@pytest.mark.parametrize("kind", [Client, Slotted])
def test_a_deep_copy_has_hooks_and_what_it_holds_is_its_own(kind):
    client = thumbprint.wrap(kind())
    copied = copy.deepcopy(client)
    assert copied.settings == client.settings
    assert copied._process_response(response=None) is copied.settings is not client.settings
    assert getattr(copied, "place", None) == getattr(client, "place", None)
    assert hooks_on(copied) == hooks_on(client) != []


@pytest.mark.parametrize("kind", [Client, Slotted])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_unpickled_is_as_if_it_had_never_been_wrapped(kind, protocol):
    pickled = pickle.dumps(thumbprint.wrap(kind()), protocol)
    assert b"thumbprint" not in pickled
    unpickled = pickle.loads(pickled)
    assert type(unpickled) is kind
    assert vars(unpickled) == vars(kind())


def test_a_method_of_the_clients_own_stays_with_its_copies():
    client = Client()
    client._process_response = lambda *, response: "mine"
    copied = copy.copy(thumbprint.wrap(client))
    assert copied._process_response(response=None) == "mine"


class Single(Client):
    """A client of which there is one: it pickles by its name."""

    def __reduce_ex__(self, protocol):
        return "single"


class Remade(Client):
    """A client that is made anew."""

    def __reduce_ex__(self, protocol):
        return Remade, (), None


single = Single()


def test_how_a_class_has_itself_copied_stays_as_it_is():
    assert copy.copy(thumbprint.wrap(single)) is single
    thumbprint.unwrap(single)
    copied = copy.copy(thumbprint.wrap(Remade()))
    assert (type(copied), vars(copied)) == (Remade, vars(Remade()))


class Late(Client):
    """A client that takes attributes only when it is set up."""

    def __setattr__(self, name, value):
        if name != "settings" and "settings" not in vars(self):
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_a_copy_that_takes_no_hooks_is_made_without_and_told_of(caplog):
    client = thumbprint.wrap(Late())
    copied = copy.copy(client)
    assert vars(copied) == {"settings": client.settings}
    assert "the calls of a client's copy are not captured" in caplog.text
