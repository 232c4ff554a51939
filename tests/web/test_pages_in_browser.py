"""The pages of the feedback endpoint in a real Chromium: what a link shows, and what counts."""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode

import browser
import httpx
import pytest
import sdk
import web_clients
from starlette.applications import Starlette
from starlette.routing import Mount

import thumbprint
from thumbprint.errors import FeedbackRefusedError
from thumbprint.web.asgi import FeedbackEndpoint

pytestmark = pytest.mark.long

ALL = ("thumbs", "score", "comment")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def page(chromium):
    with browser.watched(chromium) as page:
        yield page


@pytest.fixture
def refused(chromium):
    """A page that is not `watched`: Chromium logs the status of a refusal as an error."""
    page = chromium.new_page()
    yield page
    page.close()


@pytest.fixture
def address(client):
    def on_feedback(scope, feedback):
        if "refuse" in (feedback.comments or ()):
            raise FeedbackRefusedError("Only members may vote. <b>Sign in</b> first.", status=401)

    app = Starlette(routes=[Mount("/feedback", FeedbackEndpoint(on_feedback=on_feedback))])
    with web_clients.uvicorn_running(app) as address:
        yield f"{address}/feedback/"


@pytest.fixture
def answer(client):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked())


@pytest.fixture
def link(answer, address):
    """Return what makes a link, for an answer of the emulator's."""

    def make(allow=ALL, expires_in=60, **chosen):
        token = thumbprint.token_for(answer, allow=allow, expires_in=expires_in)
        return f"{address}?{urlencode({'token': token, **chosen})}"

    return make


def counted(emulator):
    """Return the thumb, the score and the comment that have arrived, and how often anything was sent."""
    assert thumbprint.flush(20).remaining == 0
    [log] = emulator.cloudflare_logs()
    sent = [request for request in emulator.requests() if request.method == "PATCH"]
    return log["feedback"], log["score"], log["metadata"].get("comment"), len(sent)


NOTHING = (None, None, None, 0)


def send(page):
    page.get_by_role("button", name="Send feedback").click()


def thanked(page):
    page.get_by_role("heading", name="Thank you").wait_for()
    assert page.url.endswith("/feedback/?thanks=1")  # and the token is in no address any more


def test_a_link_counts_when_its_page_is_confirmed_and_then_once(page, link, emulator):
    page.goto(link(thumbs="down"))
    assert page.title() == "Your feedback"
    assert page.get_by_label("No").is_checked()
    assert counted(emulator) == NOTHING
    page.get_by_label("Comment").fill("Wrong city.\n<b>Ulm</b>")
    send(page)
    thanked(page)
    assert counted(emulator) == (-1, None, "Wrong city.\n<b>Ulm</b>", 1)
    page.reload()
    thanked(page)
    assert counted(emulator)[3] == 1


def test_who_presses_again_while_the_answer_is_not_there_counts_once(page, answer, emulator):
    came, both = threading.Semaphore(0), threading.Barrier(2)

    def on_feedback(scope, feedback):
        came.release()
        both.wait(20)

    with web_clients.uvicorn_running(FeedbackEndpoint(on_feedback=on_feedback)) as address:
        query = urlencode({"token": thumbprint.token_for(answer), "thumbs": "up", "comment": "twice"})
        page.goto(f"{address}/?{query}")
        box = page.get_by_role("button", name="Send feedback").bounding_box()
        for _ in range(2):
            page.mouse.click(box["x"] + 9, box["y"] + 9)  # which, other than a locator's click, waits for no answer
            assert came.acquire(timeout=20)
        page.get_by_role("heading", name="Thank you").wait_for()
    assert counted(emulator) == (1, None, "twice", 1)


def test_who_goes_back_may_change_their_mind(page, link, emulator):
    page.goto(link(("thumbs",), thumbs="up"))
    send(page)
    thanked(page)
    page.go_back()
    page.get_by_label("No").check()
    send(page)
    thanked(page)
    assert counted(emulator)[0] == -1


def test_it_is_usable_from_the_keyboard_alone(page, link, emulator):
    page.goto(link())
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("No.")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    page.keyboard.press("Enter")
    thanked(page)
    assert outline == "3px"
    assert counted(emulator) == (-1, None, "No.", 1)


def test_nothing_is_sent_before_something_is_chosen(page, link, emulator):
    for allow in (ALL, ("score", "comment"), ("comment",)):
        page.goto(link(allow))
        send(page)
        assert page.locator(":invalid").count() > 0
        assert "token=" in page.url
    page.get_by_label("Comment").fill("Now.")
    send(page)
    thanked(page)
    assert counted(emulator) == (None, None, "Now.", 1)


def test_a_score_is_chosen_by_words(page, link, emulator):
    page.goto(link(("score",), score="0.25"))
    assert page.get_by_label("Poor", exact=True).is_checked()
    page.get_by_label("Very good").check()
    send(page)
    thanked(page)
    assert counted(emulator) == (None, 100, None, 1)


def test_what_a_link_says_is_text_and_nothing_else(page, link):
    said = "</textarea><img src=x onerror=document.title='hacked'><script>document.title='hacked'</script>"
    page.goto(link(comment=said, thumbs='"><script>'))
    assert page.get_by_label("Comment").input_value() == said
    assert page.locator("img, script").count() == 0
    assert page.title() == "Your feedback"


@pytest.mark.parametrize("purpose", [{}, {"Sec-Purpose": "prefetch"}, {"X-Purpose": "preview"}])
def test_mail_scanners_and_previews_count_nothing(link, emulator, purpose):
    for method in ("HEAD", "GET", "OPTIONS"):
        assert httpx.request(method, link(thumbs="up"), headers=purpose, trust_env=False).status_code in {200, 204}
    assert counted(emulator) == NOTHING


def test_a_link_that_has_expired_says_so(refused, link, emulator, monkeypatch):
    opened = link(expires_in=60, thumbs="up")
    refused.goto(opened)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    send(refused)
    refused.get_by_role("heading", name="This link has expired").wait_for()
    refused.goto(opened)
    refused.get_by_role("heading", name="This link has expired").wait_for()
    assert counted(emulator) == NOTHING


def test_a_link_that_was_cut_off_says_so(refused, link):
    refused.goto(link()[:-8])
    refused.get_by_role("heading", name="This link cannot be used").wait_for()
    refused.goto(link()[:-60])
    refused.get_by_role("heading", name="Your feedback was not taken").wait_for()
    refused.get_by_text("Is the link complete?").wait_for()


def test_what_the_application_refuses_is_told_in_its_own_words(refused, link, emulator):
    refused.goto(link(thumbs="up", comment="refuse"))
    send(refused)
    refused.get_by_role("heading", name="Your feedback was not taken").wait_for()
    refused.get_by_text("Only members may vote. <b>Sign in</b> first.", exact=True).wait_for()
    assert counted(emulator) == NOTHING


def test_no_other_page_can_frame_it(chromium, link, address, tmp_path):
    page = chromium.new_page()
    framing = tmp_path / "framing.html"
    framing.write_text(f'<iframe src="{link(thumbs="up")}"></iframe>')
    page.goto(framing.as_uri())
    assert page.frames[1].locator("form").count() == 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_phone_and_desktop_and_its_text_can_be_read(refused, link, address, width, scheme):
    refused.set_viewport_size({"width": width, "height": 844 if width < 1000 else 800})
    refused.emulate_media(color_scheme=scheme)
    shown = {
        "thumbs": link(thumbs="up", comment="Donaudampfschifffahrt" * 5),
        "score": link(("score", "comment"), score="0.75"),
        "thanks": f"{address}?thanks=1",
        "refusal": f"{address}?token={'x' * 50}",
    }
    for name, url in shown.items():
        refused.goto(url)
        browser.shoot(refused, f"page-{name}-{width}-{scheme}")
        assert browser.fits(refused)
        assert browser.faint_texts(refused) == []
        assert refused.locator("html").get_attribute("lang") == "en"
        assert refused.evaluate("getComputedStyle(document.querySelector('main')).borderRadius") == "16px"
