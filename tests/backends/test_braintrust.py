"""Everything that thumbprint knows about Braintrust: as values, and against the emulator over HTTP."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint import LogRef, errors
from thumbprint._feedback import feedback_from
from thumbprint.backends import Answer, Braintrust, Exchange, HttpRequest, Verdict
from thumbprint.backends._slug import decode_slug
from thumbprint.backends.braintrust import MOST_PAGES
from thumbprint.delivery import HttpxTransport
from thumbprint.delivery._courier import carry_out
from thumbprint.delivery._pace import Pacer
from thumbprint.delivery._steps import sent
from thumbprint.stores import MemoryStore

SAMPLES = {
    sample["name"]: sample
    for sample in json.loads(Path(__file__).with_name("braintrust_span_exports.json").read_text(encoding="utf-8"))
}
PROJECT = "11111111-2222-4333-8444-555555555555"
EXPERIMENT = "99999999-2222-4333-8444-555555555555"
UNPACED = Pacer(store=MemoryStore(), bucket="any", pace=None)
BARE = Braintrust(api_key="bt-secret-key")
REF = LogRef(backend="braintrust", id="row/1", project_id=PROJECT)


def exchange(row_id="row/1", *, parent=None, slug=None, cached=None, url="https://gateway.braintrust.dev/v1/responses"):
    told = {"x-bt-span-id": row_id, "x-bt-span-export": slug, "x-bt-cached": cached}
    return Exchange(
        method="POST",
        url=url,
        request_headers=httpx.Headers({} if parent is None else {"X-BT-Parent": parent}),
        response_headers=httpx.Headers({name: value for name, value in told.items() if value is not None}),
        operation="chat",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        captured_at=1_700_000_000.5,
    )


def home(backend, **kwargs):
    """Return where the backend sees the row of an exchange: the names and values of what is known."""
    ref = backend.recognise(exchange(**kwargs))
    return {
        name: getattr(ref, name)
        for name in ("project_id", "project_name", "experiment_id")
        if getattr(ref, name) is not None
    }


def home_in(sample):
    """Return where a sample's row lives, by the sample's own account; None for a playground."""
    logger = sample["compute_object_metadata_args"] or {}
    object_id = sample["object_id"] or logger.get("project_id")
    if sample["object_type_name"] == "experiment":
        return {"experiment_id": object_id}
    if sample["object_type_name"] == "playground_logs":
        return None
    return {"project_id": object_id} if object_id else {"project_name": logger["project_name"]}


def with_home(condition):
    return pytest.mark.parametrize(
        "sample", [sample for sample in SAMPLES.values() if condition(sample)], ids=lambda sample: sample["name"]
    )


IN_A_PLAYGROUND = with_home(lambda sample: home_in(sample) is None)
IN_A_PROJECT_OR_EXPERIMENT = with_home(home_in)


def v4(kind=2, **rest):
    return base64.b64encode(bytes((4, kind, 0)) + json.dumps(rest).encode()).decode()


# --- which row an answer tells of


def test_the_ref_holds_the_row_id_and_all_that_is_known_of_the_call():
    assert BARE.recognise(exchange(parent=f"project_id:{PROJECT}")) == LogRef(
        backend="braintrust",
        id="row/1",
        operation="chat",
        project_id=PROJECT,
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        captured_at=1_700_000_000.5,
    )


def test_an_answer_without_a_row_id_tells_of_no_row():
    assert Braintrust(parent="project_name:p").recognise(exchange(None, parent="project_name:p")) is None


@IN_A_PROJECT_OR_EXPERIMENT
def test_the_slug_beside_the_row_id_tells_where_the_row_lives(sample):
    configured = Braintrust(parent="project_name:configured")

    assert home(configured, slug=sample["slug"], parent="project_name:asked") == home_in(sample)


PARENTS = [
    (f"project_id:{PROJECT}", {"project_id": PROJECT}),
    ("project_name:my project: é", {"project_name": "my project: é"}),
    (f"experiment_id:{EXPERIMENT}", {"experiment_id": EXPERIMENT}),
]


@pytest.mark.parametrize(("parent", "expected"), PARENTS)
def test_without_a_slug_the_parent_that_was_asked_for_tells_it(parent, expected):
    assert home(Braintrust(parent="project_name:configured"), parent=parent.encode()) == expected


@IN_A_PROJECT_OR_EXPERIMENT
def test_the_parent_may_be_a_slug_of_either_version(sample):
    assert home(BARE, parent=sample["slug"]) == home_in(sample)


@pytest.mark.parametrize(("parent", "expected"), PARENTS)
@pytest.mark.parametrize("asked", [None, ""], ids=["no header", "an empty header"])
def test_without_either_the_configured_parent_tells_it(parent, expected, asked):
    assert home(Braintrust(parent=parent), parent=asked) == expected


def test_where_nothing_tells_its_home_a_row_is_captured_and_the_check_names_the_variable():
    ref = BARE.recognise(exchange())

    assert (ref.id, ref.project_id, ref.project_name, ref.experiment_id) == ("row/1", None, None, None)
    with pytest.raises(errors.MissingCredentialsError, match="BRAINTRUST_PARENT") as caught:
        BARE.check(ref)
    assert caught.value.variable == "BRAINTRUST_PARENT"


@pytest.mark.parametrize(
    "ref",
    [
        REF,
        LogRef(backend="braintrust", id="r", project_name="p"),
        LogRef(backend="braintrust", id="r", experiment_id=EXPERIMENT),
    ],
)
def test_the_check_passes_with_a_key_and_a_home_and_names_the_key_where_it_is_missing(ref):
    BARE.check(ref)
    with pytest.raises(errors.MissingCredentialsError, match="BRAINTRUST_API_KEY") as caught:
        Braintrust().check(ref)
    assert caught.value.variable == "BRAINTRUST_API_KEY"


def test_the_check_passes_where_the_configured_parent_tells_the_home():
    Braintrust(api_key="k", parent="project_name:p").check(LogRef(backend="braintrust", id="r"))


@IN_A_PLAYGROUND
def test_a_playground_s_row_is_passed_over(sample):
    assert BARE.recognise(exchange(slug=sample["slug"])) is None
    assert BARE.recognise(exchange(parent=sample["slug"])) is None
    assert BARE.recognise(exchange(parent=f"playground_id:{sample['object_id']}")) is None


@pytest.mark.parametrize(
    "parent",
    [
        *("project_id:", "project_name:", ":", "project:x", "PROJECT_ID:x", "span_id:x", "not a slug"),
        pytest.param(v4(2), id="a slug of no project"),
        pytest.param(v4(1, compute_object_metadata_args={"project_name": "p"}), id="a slug of no experiment"),
        pytest.param(v4(3), id="a slug of no playground"),
    ],
)
def test_a_broken_parent_or_slug_is_a_value_error(parent):
    with pytest.raises(ValueError, match=r"parent|slug"):
        BARE.recognise(exchange(parent=parent))
    with pytest.raises(ValueError, match="slug"):
        BARE.recognise(exchange(slug=parent, parent="project_name:fine"))
    with pytest.raises(errors.ConfigurationError, match="BRAINTRUST_PARENT"):
        Braintrust(parent=parent)


@pytest.mark.parametrize("broken", ["", "a b", "x" * 513])
def test_a_broken_row_id_is_a_value_error(broken):
    with pytest.raises(ValueError, match="the header x-bt-span-id holds no id"):
        BARE.recognise(exchange(broken, parent="project_name:p"))


@pytest.mark.parametrize(("cached", "repeats"), [("HIT", True), ("hit", True), ("MISS", False), (None, False)])
def test_an_answer_from_the_cache_repeats_with_a_row_of_its_own(cached, repeats):
    answered = exchange(parent="project_name:p", cached=cached)

    assert BARE.repeats(answered) is repeats
    assert BARE.recognise(answered).id == "row/1"


# --- what a request must carry

CONFIGURED = Braintrust(
    parent="project_name:p",
    api_url="https://bt.example/api/",
    gateway_url="https://gw.example/braintrust, http://localhost:8080 ,,https://other.example:443/",
)


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.braintrust.dev/v1/chat/completions",
        "https://api.braintrust.dev/v1/proxy/chat/completions",
        "https://api-eu.braintrust.dev/v1/proxy/responses",
        "https://GATEWAY.BrainTrust.dev/v1",
        "https://braintrust.dev/v1",
        "https://bt.example/api/v1/proxy",
        "https://bt.example/api/v1/proxy/chat/completions?x=1",
        "https://gw.example/braintrust/v1/responses",
        "https://gw.example:443/braintrust",
        "http://localhost:8080/anything",
        "https://other.example/v1",
    ],
)
def test_a_request_to_a_known_gateway_gets_the_configured_parent(url):
    assert CONFIGURED.request_headers(url, httpx.Headers()) == {"x-bt-parent": "project_name:p"}


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.braintrust.dev.evil.example/v1",
        "https://evilbraintrust.dev/v1",
        "https://gateway.braintrust.dev@evil.example/v1",
        "https://evil.example/gateway.braintrust.dev/v1",
        "https://evil.example/?https://gateway.braintrust.dev/v1",
        "https://evil.example#gateway.braintrust.dev",
        "https://api.openai.com/v1/chat/completions",
        "https://gateway.ai.cloudflare.com/v1/a/g/openai",
        "https://bt.example/v1/proxy",
        "https://bt.example/api/v1/proxying",
        "https://bt.example/api/v1/project",
        "https://gw.example/braintrust-not/v1",
        "https://gw.example/other",
        "http://gw.example/braintrust/v1",
        "https://gw.example:8443/braintrust/v1",
        "https://gw.example.evil.example/braintrust/v1",
        "http://localhost:8081/anything",
        "/v1/proxy",
    ],
)
def test_a_request_to_anybody_else_is_left_alone(url):
    assert CONFIGURED.request_headers(url, httpx.Headers()) == {}


def test_the_default_api_s_proxy_is_known_without_any_setting():
    assert Braintrust(parent="project_name:p").request_headers("https://api.braintrust.dev/v1/proxy", {})


def test_without_a_configured_parent_no_request_is_changed():
    assert BARE.request_headers("https://gateway.braintrust.dev/v1", httpx.Headers()) == {}


@pytest.mark.parametrize("name", ["x-bt-parent", "X-BT-Parent", "X-Bt-Parent"])
@pytest.mark.parametrize("own", ["project_name:own", ""])
def test_the_caller_s_own_header_wins_in_any_letter_case(name, own):
    assert CONFIGURED.request_headers("https://gateway.braintrust.dev/v1", httpx.Headers({name: own})) == {}


def sent_parent(parent):
    return Braintrust(parent=parent).request_headers("https://gateway.braintrust.dev/v1", {})["x-bt-parent"]


@with_home(lambda sample: sample["version"] == 3)
def test_a_slug_that_the_gateway_accepts_is_sent_as_it_is(sample):
    assert sent_parent(sample["slug"]) == sample["slug"]


@with_home(lambda sample: sample["version"] == 4)
def test_of_a_newer_slug_which_the_gateway_refuses_only_the_place_is_sent(sample):
    [(kind, value)] = home_in(sample).items()
    sent = sent_parent(sample["slug"])

    assert sent == f"{kind}:{value}" if value.isascii() else decode_slug(sent).version == 3
    assert home(BARE, parent=sent) == {kind: value}


def test_of_a_newer_slug_of_a_playground_the_playground_is_sent():
    assert sent_parent(v4(3, object_id=PROJECT)) == f"playground_id:{PROJECT}"


@pytest.mark.parametrize("parent", [f"project_id:{PROJECT}", "project_name:my: project", f"playground_id:{PROJECT}"])
def test_a_parent_in_words_is_sent_as_it_is(parent):
    assert sent_parent(parent) == parent


@pytest.mark.parametrize("name", ["naïve", "日本", " a ", "a\u3000", "😀"])
def test_a_project_name_that_is_not_plain_ascii_is_sent_in_a_slug(name):
    for parent in (f"project_name:x{name}", v4(compute_object_metadata_args={"project_name": f"x{name}"})):
        sent = sent_parent(parent)
        assert ":" not in sent
        assert home(BARE, parent=sent) == {"project_name": f"x{name}"}


@pytest.mark.parametrize(
    "parent",
    [
        "project_id:a\nb",
        "experiment_id:é",
        "project_id: ",
        "project_name:\ud800",
        "project_name:a\r\nx-evil: 1",
        "project_name:a\t",
        v4(compute_object_metadata_args={"project_name": "a\x00"}),
    ],
)
def test_a_parent_that_no_request_can_hold_is_refused_for_it_would_cost_the_application_its_calls(parent):
    with pytest.raises(errors.ConfigurationError, match="BRAINTRUST_PARENT"):
        Braintrust(parent=parent)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
def test_whatever_name_a_project_has_it_can_stand_in_a_request_and_is_read_back(name):
    sent = sent_parent(f"project_name:{name}")

    h11.Request(method="GET", target="/", headers=[("host", "gw.example"), ("x-bt-parent", sent)])
    assert home(BARE, parent=sent) == {"project_name": name}


# --- what request says the feedback


def walk(backend, batch, *answers):
    """Carry out a plan by hand; return the requests it made and its verdict."""
    plan = backend.deliver(batch)
    requests = [next(plan)]
    for answer in answers:
        try:
            requests.append(plan.send(answer))
        except StopIteration as done:
            return requests, done.value
    raise AssertionError(f"the plan wants more answers after {requests}")


def answer(body=None, status=200, **headers):
    content = json.dumps({"status": "success"} if body is None else body).encode()
    return Answer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, content=content
    )


@pytest.mark.parametrize(
    ("said", "item"),
    [
        ({"thumbs": "up"}, {"scores": {"thumbs": 1}}),
        ({"thumbs": "down"}, {"scores": {"thumbs": 0}}),
        ({"thumbs": None}, {"scores": {"thumbs": None}}),
        ({"score": 0.57}, {"scores": {"score": 0.57}}),
        ({"score": 0}, {"scores": {"score": 0}}),
        ({"score": None}, {"scores": {"score": None}}),
        ({"scores": {"tone": 0.25, "facts": None}}, {"scores": {"tone": 0.25, "facts": None}}),
        ({"thumbs": 1, "score": 1, "scores": {"x": 0}}, {"scores": {"x": 0, "thumbs": 1, "score": 1}}),
        ({"comment": "wrong city é"}, {"comment": "wrong city é"}),
        ({"expected": {"a": [1]}}, {"expected": {"a": [1]}}),
        ({"expected": None}, {"expected": None}),
        ({"expected": False}, {"expected": False}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),
        ({"tags": []}, {"tags": []}),
        ({"metadata": {"k": {"n": [None]}}}, {"metadata": {"k": {"n": [None]}}}),
        ({"comment": "c", "user_id": "u-17"}, {"comment": "c", "metadata": {"user_id": "u-17"}}),
        ({"metadata": {"k": 1, "user_id": "old"}, "user_id": "u"}, {"metadata": {"k": 1, "user_id": "u"}}),
        ({"comment": "c", "source": "app"}, {"comment": "c", "source": "app"}),
    ],
)
def test_each_field_is_posted_in_its_place(said, item):
    feedback = feedback_from(**said)
    [request], verdict = walk(BARE, [(REF, feedback)], answer())

    assert request == HttpRequest(
        method="POST",
        url=f"https://api.braintrust.dev/v1/project_logs/{PROJECT}/feedback",
        headers={"authorization": "Bearer bt-secret-key"},
        json={"feedback": [{"id": "row/1", **item}]},
    )
    assert verdict == Verdict(kind="delivered")
    assert "bt-secret-key" not in repr(request)
    taken = "user_id" in said.get("metadata", {}) and "user_id" in said
    assert BARE.unsupported(feedback) == (("metadata.user_id",) if taken else ())


def test_many_items_go_in_one_post_in_their_order():
    batch = [
        (LogRef(backend="braintrust", id=f"row-{n}", project_id=PROJECT), feedback_from(score=n / 1000))
        for n in range(BARE.batch_size)
    ]
    [request], _ = walk(BARE, batch, answer())

    assert request.json["feedback"] == [{"id": f"row-{n}", "scores": {"score": n / 1000}} for n in range(200)]


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (REF, f"project_logs/{PROJECT}/feedback"),
        (LogRef(backend="braintrust", id="r", experiment_id=EXPERIMENT), f"experiment/{EXPERIMENT}/feedback"),
        (LogRef(backend="braintrust", id="r", experiment_id="../x"), "experiment/..%2Fx/feedback"),
        (LogRef(backend="braintrust", id="r", project_id="a/b?é"), "project_logs/a%2Fb%3F%C3%A9/feedback"),
        (LogRef(backend="braintrust", id="r"), "project_logs/configured/feedback"),
    ],
)
@pytest.mark.parametrize("api_url", ["https://bt.example", "https://bt.example/"])
def test_the_post_goes_to_the_home_of_the_rows_under_the_configured_api(ref, path, api_url):
    backend = Braintrust(api_key="k", api_url=api_url, parent="project_id:configured")
    [request], _ = walk(backend, [(ref, feedback_from(thumbs="up"))], answer())

    assert request.url == f"https://bt.example/v1/{path}"


def test_rows_of_one_home_share_a_delivery_and_rows_of_two_do_not():
    backend = Braintrust(parent=f"project_id:{PROJECT}")
    homes = [
        {"project_id": PROJECT},
        {},
        {"project_id": "another"},
        {"project_name": PROJECT},
        {"experiment_id": PROJECT},
    ]
    first, configured, *others = (backend.destination(LogRef(backend="braintrust", id="r", **home)) for home in homes)

    assert first == configured
    assert len({first, *others}) == 4


NAMED = LogRef(backend="braintrust", id="r", project_name="my project é")
SAID = [(NAMED, feedback_from(thumbs="up"))]


def found(*projects):
    return answer({"objects": [{"id": key, "name": name} for key, name in projects]})


def test_a_project_known_by_name_is_looked_up_once_and_remembered():
    backend = Braintrust(api_key="bt-secret-key")

    [asked, posted], verdict = walk(backend, SAID, found(("other", "my project"), (PROJECT, "my project é")), answer())
    assert (asked.method, asked.json) == ("GET", None)
    assert asked.url == "https://api.braintrust.dev/v1/project?project_name=my%20project%20%C3%A9"
    assert asked.headers == {"authorization": "Bearer bt-secret-key"}
    assert posted.url.endswith(f"/v1/project_logs/{PROJECT}/feedback")
    assert verdict.kind == "delivered"

    [again], _ = walk(backend, SAID, answer())
    assert again.url == posted.url


def test_what_one_backend_has_looked_up_another_one_does_not_know():
    walk(Braintrust(), SAID, found((PROJECT, "my project é")), answer())
    [first, _], _ = walk(Braintrust(), SAID, found((PROJECT, "my project é")), answer())

    assert first.method == "GET"


def test_the_configured_project_name_is_looked_up_for_a_row_whose_home_is_not_known():
    backend = Braintrust(parent="project_name:p")
    [asked, posted], _ = walk(
        backend, [(LogRef(backend="braintrust", id="r"), feedback_from(thumbs=1))], found((PROJECT, "p")), answer()
    )

    assert asked.url.endswith("?project_name=p")
    assert PROJECT in posted.url


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (found(), "refused", "no project named 'my project é'"),
        (found(("id", "My Project É")), "refused", "no project named"),
        (
            answer({"objects": [7, {"name": "my project é"}, {"name": "my project é", "id": 7}]}),
            "refused",
            "no project",
        ),
        (answer({"objects": None}), "retry", "not one of Braintrust's API"),
        (answer([]), "retry", "not one of Braintrust's API"),
        (Answer(status=200, content=b"<html>"), "retry", "not one of Braintrust's API"),
        (Answer(status=401, content=b"Unauthorized"), "unauthorized", "HTTP 401: Unauthorized"),
        (answer({}, 500), "retry", "HTTP 500"),
    ],
)
def test_a_project_that_cannot_be_looked_up_is_not_remembered(answered, kind, words):
    backend = Braintrust()
    [asked], verdict = walk(backend, SAID, answered)

    assert asked.method == "GET"
    assert verdict.kind == kind
    assert re.search(words, verdict.reason)
    [asked_again, _], _ = walk(backend, SAID, found((PROJECT, "my project é")), answer())
    assert asked_again.method == "GET"


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (answer({}), "delivered", None),
        (Answer(status=200, content=b"<html>log in</html>"), "retry", "not one of Braintrust's API"),
        (Answer(status=200), "retry", "not one of Braintrust's API"),
        (Answer(status=400, content=b"scores.x must be a number"), "refused", "HTTP 400: scores.x must be a number"),
        (answer({"error": "no"}, 401), "unauthorized", "HTTP 401"),
        (answer({"error": "no"}, 403), "unauthorized", "HTTP 403"),
        (answer({"error": "no"}, 404), "refused", "HTTP 404"),
        (Answer(status=408), "retry", "HTTP 408"),
        (Answer(status=425), "retry", "HTTP 425"),
        (Answer(status=429), "retry", "HTTP 429"),
        (Answer(status=500, content=b"Internal"), "retry", "HTTP 500: Internal"),
    ],
)
def test_the_judgement_of_an_answer(answered, kind, words):
    _, verdict = walk(BARE, [(REF, feedback_from(thumbs="up"))], answered)

    assert verdict.kind == kind
    assert (verdict.reason is None) if words is None else re.search(words, verdict.reason)


@pytest.mark.parametrize(
    ("ref", "answers", "whole"),
    [
        (REF, [answer({}, 404)], True),
        (REF, [answer({}, 400)], False),
        (NAMED, [found()], True),
        (NAMED, [answer({}, 400)], True),
        (NAMED, [found((PROJECT, "my project é")), answer({}, 404)], True),
        (NAMED, [found((PROJECT, "my project é")), answer({}, 400)], False),
    ],
)
def test_a_refusal_of_the_project_is_one_of_the_whole_batch(ref, answers, whole):
    _, verdict = walk(Braintrust(), [(ref, feedback_from(thumbs="up"))], *answers)

    assert (verdict.kind, verdict.whole) == ("refused", whole)


def test_a_service_that_says_when_to_come_back_is_listened_to():
    _, verdict = walk(BARE, [(REF, feedback_from(thumbs="up"))], answer({}, 429, retry_after="7"))

    assert (verdict.kind, verdict.retry_after) == ("retry", 7.0)


# --- over HTTP, against the emulator


@pytest.fixture
def transport():
    opened = HttpxTransport(timeout=5)
    yield opened
    opened.close()


def backend_of(emulator, **settings):
    variables = emulator.environ()
    own = {name: variables[variable] for name, variable in Braintrust.environment.items() if variable in variables}
    return Braintrust(**{**own, **settings})


def called(emulator, backend, base_url, **headers):
    """Make a call through an emulated gateway with the headers the backend wants; return what it recognises."""
    url = f"{base_url}/chat/completions"
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    own = httpx.Headers({"authorization": f"Bearer {key}"} | headers)
    response = httpx.post(
        url,
        json={"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]},
        headers={**own, **backend.request_headers(url, own)},
    )
    return backend.recognise(
        Exchange(
            method="POST",
            url=url,
            request_headers=response.request.headers,
            response_headers=response.headers,
        )
    )


@pytest.mark.parametrize("door", ["braintrust_gateway_url", "braintrust_proxy_url", "chained_url"])
def test_feedback_lands_on_the_row_of_the_call_and_makes_no_stray_one(emulator, transport, door):
    backend = backend_of(emulator)
    ref = called(emulator, backend, getattr(emulator, door))
    said = feedback_from(
        thumbs="up", score=0.5, comment="é", expected=None, tags=["t"], metadata={"k": 1}, user_id="u", source="app"
    )

    assert sent(carry_out(backend.deliver([(ref, said)]), UNPACED), transport) == Verdict(kind="delivered")

    [row] = emulator.braintrust_rows()
    assert (row["id"], row["stray"], row["scores"]) == (ref.id, False, {"thumbs": 1, "score": 0.5})
    assert (row["expected"], row["tags"]) == (None, ["t"])
    [comment] = row["comments"]
    assert (comment["text"], comment["source"]) == ("é", "app")
    assert comment["metadata"] == {"k": 1, "user_id": "u"}


def test_feedback_lands_in_an_experiment(emulator, transport):
    backend = backend_of(emulator)
    ref = called(emulator, backend, emulator.braintrust_gateway_url, **{"x-bt-parent": f"experiment_id:{EXPERIMENT}"})

    assert sent(carry_out(backend.deliver([(ref, feedback_from(score=1))]), UNPACED), transport).kind == "delivered"

    [row] = emulator.braintrust_rows()
    assert (row["experiment_id"], row["scores"], row["stray"]) == (EXPERIMENT, {"score": 1}, False)


def test_without_a_parent_the_gateway_logs_nothing_and_nothing_is_recognised(emulator):
    assert called(emulator, backend_of(emulator, parent=None), emulator.braintrust_gateway_url) is None
    assert emulator.braintrust_rows() == []


@with_home(lambda sample: sample["version"] == 4 and home_in(sample) != {"project_id": "proj-x"})
def test_a_gateway_takes_what_is_sent_of_a_newer_slug(emulator, sample):
    ref = called(emulator, backend_of(emulator, parent=sample["slug"]), emulator.braintrust_proxy_url)

    [row] = emulator.braintrust_rows()
    assert ref.id == row["id"]
    assert home_in(sample).items() <= row.items()


def test_a_hundred_items_are_one_request_and_the_project_is_looked_up_once(emulator, transport):
    backend = backend_of(emulator)
    variables = emulator.environ()
    name = variables["BRAINTRUST_PARENT"].removeprefix("project_name:")
    for start in (0, 100):
        batch = [
            (LogRef(backend="braintrust", id=f"row-{n}", project_name=name), feedback_from(thumbs="down"))
            for n in range(start, start + 100)
        ]
        assert sent(carry_out(backend.deliver(batch), UNPACED), transport).kind == "delivered"

    assert [request.method for request in emulator.requests()] == ["GET", "POST", "POST"]
    assert [row["id"] for row in emulator.braintrust_rows()] == [f"row-{n}" for n in range(200)]


def test_a_project_that_does_not_exist_is_refused_by_name(emulator, transport):
    backend = backend_of(emulator)
    ref = LogRef(backend="braintrust", id="r", project_name="nowhere")

    verdict = sent(carry_out(backend.deliver([(ref, feedback_from(thumbs="up"))]), UNPACED), transport)

    assert (verdict.kind, "'nowhere'" in verdict.reason) == ("refused", True)


# --- whether the feedback is there


def asked(plan, *answers):
    """Carry out a plan with these answers; return its result and the requests."""
    turns, sent = iter(answers), []
    try:
        sent.append(next(plan))
        while True:
            sent.append(plan.send(next(turns)))
    except StopIteration as done:
        assert next(turns, None) is None
        return done.value, sent


def said_by(body, status=200):
    return Answer(status=status, content=json.dumps(body).encode())


def page(*rows, cursor=None):
    return said_by({"events": list(rows), "cursor": cursor})


def row(row_id="row/1", **fields):
    return {"id": row_id, "input": "Where is Ulm?", **fields}


def confirmed(*answers, ref=REF, **said):
    return asked(BARE.confirm(ref, feedback_from(**said)), *answers)


def test_scores_expected_and_tags_are_compared_with_the_row_s():
    held = row(scores={"thumbs": 1, "score": 0.5, "tone": None, "more": 1}, expected={"a": 1}, tags=["x", "y"])
    said = {"thumbs": "up", "score": 0.5, "scores": {"tone": None}, "expected": {"a": 1}, "tags": ["y"]}
    found, sent = confirmed(page(held), **said)
    assert (found.ref, found.status, found.reason) == (REF, "confirmed", None)
    assert found.fields == ("scores.tone", "thumbs", "score", "expected", "tags")
    assert [(request.method, request.url, request.json) for request in sent] == [
        ("POST", f"https://api.braintrust.dev/v1/project_logs/{PROJECT}/fetch", {"limit": 100})
    ]


def test_a_score_by_the_name_of_a_thumb_is_told_as_a_score():
    assert confirmed(page(row(scores={"thumbs": 0.5})), scores={"thumbs": 0.5})[0].fields == ("scores.thumbs",)


@pytest.mark.parametrize(
    ("held", "said", "reason"),
    [
        ({"scores": {"thumbs": 0}}, {"thumbs": "up"}, "thumbs is 0; feedback that came later may have changed it"),
        ({}, {"thumbs": "up"}, "thumbs is not there; "),
        ({"scores": {"score": 0.4}}, {"score": None}, "score is 0.4; "),
        ({"expected": "a"}, {"expected": "b"}, 'expected is "a"; '),
        ({"tags": ["a"]}, {"tags": ["a", "b"]}, 'tags is ["a"]; '),
    ],
)
def test_what_is_not_as_it_was_said_is_missing_and_told(held, said, reason):
    found, _ = confirmed(page(row(**held)), **said)
    assert found.status == "missing"
    assert found.reason.startswith(reason)


def test_what_no_row_shows_is_said():
    found, _ = confirmed(
        page(row(scores={"thumbs": 1})), thumbs=1, comment="c", metadata={"m": 1}, user_id="u", source="app"
    )
    assert found.status == "confirmed"
    assert found.reason == "Braintrust does not show: comment, user_id, source, metadata.m"
    assert confirmed(page(row()), comment="c", tags=[])[0].status == "unknown"


def test_a_row_that_holds_nothing_but_feedback_may_be_the_one_that_a_wrong_id_makes():
    found, _ = confirmed(page({"id": "row/1", "input": None, "scores": {"thumbs": 1}, "metrics": {}}), thumbs="up")
    assert found.status == "unknown"
    assert "for an id that is wrong" in found.reason


def test_the_row_is_looked_for_page_by_page():
    found, sent = confirmed(page(row("other"), cursor="c1"), page(row(scores={"thumbs": 1})), thumbs="up")
    assert found.status == "confirmed"
    assert [request.json for request in sent] == [{"limit": 100}, {"limit": 100, "cursor": "c1"}]


def test_a_row_that_is_on_no_page_is_missing():
    found, _ = confirmed(page(row("other")), thumbs="up")
    assert (found.status, found.reason) == ("missing", f"there is no such row in project_logs/{PROJECT}")


def test_only_so_many_pages_are_looked_at():
    found, sent = confirmed(*[page(row("other"), cursor="more")] * MOST_PAGES, thumbs="up")
    assert len(sent) == MOST_PAGES
    assert found.status == "unknown"
    assert f"newest {MOST_PAGES * 100}" in found.reason


def test_rows_of_an_experiment_are_fetched_there_and_a_project_s_name_is_looked_up():
    experiment = LogRef(backend="braintrust", id="row/1", experiment_id=EXPERIMENT)
    _, sent = confirmed(page(), ref=experiment, thumbs="up")
    assert sent[0].url.endswith(f"/v1/experiment/{EXPERIMENT}/fetch")
    by_name = LogRef(backend="braintrust", id="row/1", project_name="looked up")
    objects = said_by({"objects": [{"id": PROJECT, "name": "looked up"}]})
    _, sent = confirmed(objects, page(), ref=by_name, thumbs="up")
    assert [request.url.partition("/v1/")[2] for request in sent] == [
        "project?project_name=looked%20up",
        f"project_logs/{PROJECT}/fetch",
    ]


@pytest.mark.parametrize(("status", "result"), [(401, "unknown"), (400, "missing"), (503, "unknown"), (429, "unknown")])
def test_an_answer_without_rows_is_told(status, result):
    found, _ = confirmed(said_by({"e": 1}, status), thumbs="up")
    assert (found.status, found.reason) == (result, f'HTTP {status}: {{"e": 1}}')


def test_a_project_that_is_not_there_has_no_row():
    by_name = LogRef(backend="braintrust", id="row/1", project_name="gone")
    found, _ = confirmed(said_by({"objects": []}), ref=by_name, thumbs="up")
    assert (found.status, found.reason) == ("missing", "Braintrust has no project named 'gone'")


# --- how the settings stand


def diagnosed(backend, *answers):
    findings, sent = asked(backend.diagnose(), *answers)
    return {finding.check.removeprefix("braintrust "): finding for finding in findings}, sent


def test_without_a_key_nothing_is_asked():
    findings, sent = diagnosed(Braintrust())
    assert sent == []
    assert [finding.status for finding in findings.values()] == ["ok"]
    assert "BRAINTRUST_API_KEY" in findings["settings"].advice
    findings, sent = diagnosed(Braintrust(parent="project_name:p"))
    assert sent == []
    assert {check: finding.status for check, finding in findings.items()} == {"settings": "problem", "parent": "ok"}


@pytest.mark.parametrize(
    ("parent", "path", "body"),
    [
        (None, "project?limit=1", {"objects": []}),
        ("project_name:my p", "project?project_name=my%20p", {"objects": [{"id": "i", "name": "my p"}]}),
        (f"project_id:{PROJECT}", f"project/{PROJECT}", {"id": PROJECT}),
        (f"experiment_id:{EXPERIMENT}", f"experiment/{EXPERIMENT}/fetch?limit=1", {"events": []}),
    ],
)
def test_the_key_is_tried_by_reading_what_the_parent_names(parent, path, body):
    findings, sent = diagnosed(Braintrust(api_key="k", parent=parent), said_by(body))
    assert [(request.method, request.url) for request in sent] == [("GET", f"https://api.braintrust.dev/v1/{path}")]
    assert findings["credentials"].status == "ok"
    assert findings["parent"].status == ("ok" if parent else "warning")


def test_a_playground_is_no_parent_for_feedback():
    findings, _ = diagnosed(Braintrust(api_key="k", parent=f"playground_id:{PROJECT}"), said_by({"objects": []}))
    assert findings["parent"].status == "problem"


def test_a_project_that_is_not_there_yet_is_a_warning():
    findings, _ = diagnosed(Braintrust(api_key="k", parent="project_name:p"), said_by({"objects": []}))
    assert findings["credentials"].status == "warning"
    assert "'p'" in findings["credentials"].found


@pytest.mark.parametrize(
    ("answered", "advice"),
    [
        (said_by({}, 401), "BRAINTRUST_API_KEY"),
        (said_by({}, 403), "access to the project"),
        (said_by({}, 404), "BRAINTRUST_PARENT"),
        (said_by({}, 500), "see whether https://api.braintrust.dev"),
        (Answer(status=200, content=b"<html>"), "see whether"),
    ],
)
def test_a_refusal_is_a_problem_with_the_words_of_the_service_and_what_to_do(answered, advice):
    findings, _ = diagnosed(Braintrust(api_key="k"), answered)
    assert findings["credentials"].status == "problem"
    assert advice in findings["credentials"].advice


def test_the_diagnosis_says_that_calls_are_logged_or_why_they_cannot_be():
    found, _ = asked(Braintrust(api_key="k", parent="project_name:p", log_calls=True).diagnose(), said_by({}))
    assert [(each.status, each.found) for each in found if each.check == "braintrust log_calls"] == [
        ("ok", "calls that have no row are logged, with what was asked and answered")
    ]
    found, _ = asked(Braintrust(api_key="k", log_calls="1").diagnose(), said_by({}))
    [problem] = [each for each in found if each.check == "braintrust log_calls"]
    assert problem.status == "problem"
    assert "nothing says where calls are logged" in problem.found
