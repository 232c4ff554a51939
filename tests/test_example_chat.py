"""The chat of `examples/chat` in a real Chromium, against the emulator: what a user sees, and where the votes land."""

import os
import subprocess
import sys
import time
from pathlib import Path

import browser
import httpx
import pytest

pytestmark = pytest.mark.long

APP = Path(__file__).parents[1] / "examples" / "chat" / "app.py"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def url(emulator):
    """Run the application as its one line does, beside the emulator of the test."""
    with started() as (process, lines):
        yield lines[0].split()[4]
        assert process.poll() is None


class started:  # noqa: N801 - it is used as a function
    """The application as a process, with its output up to the line that names its address."""

    def __init__(self, **environ):
        self.environ = os.environ | environ

    def __enter__(self):
        command = [sys.executable, str(APP), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environ)
        lines = [self.process.stdout.readline()]
        while lines[-1] and "The chat is at" not in lines[-1]:
            lines.append(self.process.stdout.readline())
        return self.process, lines

    def __exit__(self, *error):
        self.process.terminate()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


@pytest.fixture
def page(chromium, url):
    with browser.watched(chromium) as page:
        page.goto(url)
        yield page


def ask(page, text="Where is Ulm?"):
    page.get_by_label("Your question").fill(text)
    page.get_by_role("button", name="Ask", exact=True).click()
    answered(page, text)


def answered(page, text):
    page.get_by_text(f"You said: {text}", exact=True).wait_for()
    group(page).last.wait_for()


def group(page):
    return page.get_by_role("group", name="Feedback on this answer")


def thumb(page, name, at=-1):
    return group(page).nth(at).get_by_role("button", name=f"{name} answer")


def pressed(page, at=-1):
    return [thumb(page, name, at).get_attribute("aria-pressed") for name in ("Good", "Bad")]


def holds(emulator, **wanted):
    """Wait until each log of the emulator, oldest first, has these values; delivery is in the background."""
    deadline = time.monotonic() + 20
    while True:
        logs = emulator.cloudflare_logs()
        found = {name: [log[name] if name in log else log["metadata"].get(name) for log in logs] for name in wanted}
        if found == wanted or time.monotonic() > deadline:
            assert found == wanted
            return
        time.sleep(0.02)


def test_a_vote_lands_on_the_emulator_and_can_be_changed_undone_and_reloaded(page, emulator):
    ask(page)
    assert pressed(page) == ["false", "false"]
    thumb(page, "Good").click()
    holds(emulator, feedback=[1])
    assert pressed(page) == ["true", "false"]

    thumb(page, "Bad").click()
    holds(emulator, feedback=[-1])
    assert pressed(page) == ["false", "true"]
    page.get_by_label("What was wrong?").fill("Wrong city. <b>Ulm</b> is on the Danube.")
    page.get_by_role("button", name="Send comment").click()
    holds(emulator, feedback=[-1], comment=["Wrong city. <b>Ulm</b> is on the Danube."])

    page.reload()
    assert pressed(page) == ["false", "true"]
    assert page.locator("blockquote").inner_text() == "Wrong city. <b>Ulm</b> is on the Danube."
    assert page.get_by_label("What was wrong?").is_hidden()

    page.get_by_role("button", name="Undo").click()
    holds(emulator, feedback=[0])
    assert pressed(page) == ["false", "false"]
    page.reload()
    assert pressed(page) == ["false", "false"]

    thumb(page, "Good").click()  # the token has survived, too
    holds(emulator, feedback=[1])
    thumb(page, "Good").click()
    holds(emulator, feedback=[0])


def test_each_answer_has_a_vote_of_its_own(page, emulator):
    for text in ("one", "two", "three"):
        ask(page, text)
    thumb(page, "Bad", 1).click()
    thumb(page, "Good", 2).click()
    holds(emulator, feedback=[None, -1, 1])
    assert [pressed(page, at) for at in range(3)] == [["false"] * 2, ["false", "true"], ["true", "false"]]


def test_hasty_changes_of_mind_end_with_the_last_of_them(page, emulator):
    ask(page)
    for name in ("Good", "Bad", "Good", "Good", "Bad", "Good"):
        thumb(page, name).click()
    holds(emulator, feedback=[1])
    assert pressed(page) == ["true", "false"]


def test_all_of_it_works_by_keyboard_and_is_told_to_those_who_do_not_see(page, emulator):
    press, status = page.keyboard.press, page.get_by_role("status")
    page.get_by_label("Your question").focus()
    page.keyboard.type("first line")
    press("Shift+Enter")
    page.keyboard.type("second line")
    press("Enter")
    answered(page, "first line second line")
    assert status.inner_text() == "Answer: You said: first line second line"

    for _ in range(3):  # from the question back: the thumbs stand before it
        press("Shift+Tab")
        if thumb(page, "Bad").evaluate("it => it === document.activeElement"):
            break
    press("Space")
    holds(emulator, feedback=[-1])
    assert status.inner_text() == "Thank you."
    assert (
        thumb(page, "Bad").evaluate("it => it === document.activeElement && getComputedStyle(it).outlineWidth") == "2px"
    )

    press("Tab")
    press("Tab")  # past Undo, into the comment
    page.keyboard.type("No.")
    press("Tab")
    press("Enter")
    holds(emulator, feedback=[-1], comment=["No."])
    press("Tab")
    press("Enter")  # Undo
    holds(emulator, feedback=[0])
    assert status.inner_text() == "Vote taken back; your comment stays."
    assert thumb(page, "Bad").evaluate("it => it === document.activeElement")


def test_a_vote_that_is_not_taken_is_shown_as_it_was(chromium, url, emulator):
    page = chromium.new_page()  # not `watched`: Chromium logs what fails here
    try:
        page.goto(url)
        ask(page)
        page.route("**/feedback/", lambda route: route.fulfill(status=410))
        thumb(page, "Good").click()
        group(page).get_by_text("This answer is too old for a vote.").wait_for()
        assert pressed(page) == ["false", "false"]
        page.unroute("**/feedback/")
        page.route("**/feedback/", lambda route: route.abort())
        thumb(page, "Good").click()
        group(page).get_by_text("there is no connection").wait_for()
        page.unroute("**/feedback/")
        thumb(page, "Good").click()
        holds(emulator, feedback=[1])

        emulator.fail("/v1/", method="POST", status=400)
        page.get_by_label("Your question").fill("again")
        page.keyboard.press("Enter")
        page.locator(".failed").get_by_text("The answer did not come.").wait_for()
        assert group(page).count() == 1
        ask(page, "again")
    finally:
        page.close()


def test_what_is_said_is_text_and_nothing_else(page):
    ask(page, "<img src=x onerror=document.title='hacked'>")
    assert page.locator("#talk img").count() == 0
    assert page.title() == "Chat with thumbs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_phone_and_desktop_and_its_text_can_be_read(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    browser.shoot(page, f"chat-{width}-{scheme}-0")
    ask(page, "Where is Ulm?")
    ask(page, f"And how long is {'Donaudampfschifffahrt' * 5}? " + "It is said to be rather long. " * 8)
    thumb(page, "Good", 0).click()
    thumb(page, "Bad", 1).click()
    group(page).nth(1).get_by_text("Thank you.").wait_for()
    page.get_by_label("What was wrong?").last.scroll_into_view_if_needed()
    browser.shoot(page, f"chat-{width}-{scheme}-1")
    assert browser.fits(page)
    assert browser.faint_texts(page) == []


def test_the_one_line_starts_an_emulator_where_no_gateway_is_configured(tmp_path):
    bare = {"OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""}
    with started(**bare) as (_, lines):
        emulator_url, chat_url = lines[0].split()[-1], lines[1].split()[4]
        messages = {"messages": [{"role": "user", "content": "Where is Ulm?"}]}
        answer = httpx.post(f"{chat_url}/ask", json=messages, timeout=20)
        assert answer.text == "You said: Where is Ulm?"
        body = {"token": answer.headers["x-feedback-token"], "thumbs": "up"}
        assert httpx.post(f"{chat_url}/feedback/", json=body, timeout=20).status_code == 202
        deadline = time.monotonic() + 20
        while not (entries := httpx.get(f"{emulator_url}/emulator/entries").json()["entries"])[0]["thumb"]:
            assert time.monotonic() < deadline
        assert [entry["thumb"] for entry in entries] == ["up"]
