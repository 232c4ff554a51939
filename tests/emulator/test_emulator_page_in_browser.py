"""The emulator's page in a real Chromium."""

import browser
import pytest

from thumbprint.emulator import Emulator

pytestmark = pytest.mark.long

SCRIPT = "<img src=x onerror=document.title='hacked'><script>document.title='hacked'</script>"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def page(chromium, emulator):
    """Open a page that is closed before the emulator ends: it would tell that nobody answers any more."""
    with browser.watched(chromium) as page:
        yield page


@pytest.fixture
def ask(gateway):
    """Return what asks a question, and returns the id of its log."""

    def asked(text):
        body = {"model": "gpt-5", "messages": [{"role": "user", "content": text}]}
        return gateway.post("/openai/chat/completions", json=body).headers["cf-aig-log-id"]

    return asked


@pytest.fixture
def vote(emulator, cloudflare_api):
    """Return what says something about a log."""
    names = emulator.environ()
    gateway = f"/accounts/{names['CLOUDFLARE_ACCOUNT_ID']}/ai-gateway/gateways/{names['CLOUDFLARE_GATEWAY_ID']}"

    def voted(log_id, **said):
        cloudflare_api.patch(f"{gateway}/logs/{log_id}", json=said).raise_for_status()

    return voted


def test_calls_and_votes_appear_by_themselves(page, emulator, ask, vote):
    page.goto(emulator.url)
    page.get_by_text("No calls yet.").wait_for()
    _, second, _ = [ask(text) for text in ("first", "second", "third")]
    page.get_by_text("3 entries, 0 with feedback").wait_for()
    vote(second, feedback=-1, score=40, metadata={"comment": "Wrong city."})
    page.get_by_text("3 entries, 1 with feedback").wait_for()
    assert page.locator("tr", has_text="second").locator(".feedback").inner_text().split() == [
        "▼", "down", "score", "40", "comment", "Wrong", "city.",
    ]  # fmt: skip
    page.get_by_label("only with feedback").check()
    assert page.locator("tbody tr").count() == 1


def test_what_was_said_is_text_and_nothing_else(page, emulator, ask, vote):
    vote(ask(SCRIPT), feedback=1, metadata={SCRIPT: SCRIPT})
    page.goto(emulator.url)
    page.get_by_text("1 entry, 1 with feedback").wait_for()
    assert page.locator("tbody img, tbody script").count() == 0
    assert page.locator(".asked").inner_text() == SCRIPT
    assert page.title() == "thumbprint emulator"


@pytest.mark.parametrize("width", [390, 1280])
def test_five_hundred_entries_fit_a_phone_and_a_desktop(page, emulator, ask, width):
    page.set_viewport_size({"width": width, "height": 844})
    for number in range(501):
        ask(f"question {number} {'longword' * 20}")
    page.goto(emulator.url)
    page.get_by_text("the newest 500 of 501 entries, 0 with feedback").wait_for()
    assert page.locator("tbody tr").count() == 500
    assert browser.fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_all_can_be_read(page, emulator, ask, vote, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(emulator.url)
    page.get_by_text("No calls yet.").wait_for()
    assert browser.faint_texts(page) == []
    vote(ask("first"), feedback=1, metadata={"comment": "Yes."})
    vote(ask("second"), feedback=-1)
    page.get_by_text("2 entries, 2 with feedback").wait_for()
    assert browser.faint_texts(page) == []
    red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
    assert (red > 200) is (scheme == "light")


def test_an_emulator_that_goes_away_is_told_and_its_return_too(chromium):
    page = chromium.new_page()  # not `watched`: a connection that is refused is what this is about
    running = Emulator().start()
    try:
        page.goto(running.url)
        page.get_by_text("live", exact=True).wait_for()
        running.stop()
        page.get_by_text("the emulator does not answer").wait_for()
        running.start()
        page.get_by_text("live", exact=True).wait_for()
    finally:
        running.stop()
        page.close()
