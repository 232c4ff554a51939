"""What holds of every framework, with `thumbprint.instrument()` and no other line.

A framework's file tells how it is asked: by its doors, each a function that makes one run and returns what the
application gets for it, and by `asker` and `stream`. All else is told here once.
"""

from __future__ import annotations

import asyncio
import inspect

import openai
import pytest
import sdk

import thumbprint

# All coroutines run in one event loop: some frameworks share one HTTP client among all that they make in a process.
LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)

BASES = [getattr(openai._base_client, name) for name in ("BaseClient", "SyncAPIClient", "AsyncAPIClient")]
REFUSED = "01REFUSEDATTEMPT"


def run(awaitable):
    return LOOP.run_until_complete(awaitable)


def row(client, door, *calls, streams=(), leads="✓", streams_lead="✓"):
    """Return the cells of a row of the table in README.md: see tests/compatibility/table.py for what one may lead to.

    Of several calls in a run, what it returns, where it is a target, leads to the last.
    """
    cells = [(call, False, leads) for call in calls] + [(call, True, streams_lead) for call in streams]
    return [_cell(client, door, *cell) for cell in cells]


def _cell(client, door, call, stream, leads):
    way = "async" if inspect.iscoroutinefunction(call) else "sync"
    marks = [
        pytest.mark.client(client, way),
        pytest.mark.door(door, stream=stream, leads=leads),
        pytest.mark.by("instrument"),
    ]
    return pytest.param(call, leads, marks=marks, id=call.__name__)


def nested_call(text):
    """Make a call from deep inside: from a tool that an agent uses."""
    client = sdk.openai_client(None)  # as the environment has it
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked(f"the tool asks: {text}"))


def log_ids(emulator):
    """Return the ids of the log entries that there are; there must be some."""
    ids = [log["id"] for log in emulator.cloudflare_logs()]
    assert ids
    return ids


def led_to(target, **feedback):
    """Give feedback, have it delivered, and return the ids of the log entries that it went to."""
    receipt = thumbprint.record_feedback(target, **{"thumbs": "up"} | feedback).wait(10)
    assert receipt.status == "delivered", receipt.outcomes
    return [outcome.ref.id for outcome in receipt.outcomes]


class Contract:
    """A framework: `doors` are its cells; `own_error` says whether what it raises for an API error is a target."""

    doors = ()
    own_error = True

    def asker(self, model="gpt-5"):
        """Return a coroutine function that asks one client of the framework's, made now; each asking is one call."""
        raise NotImplementedError

    def stream(self):
        """Return an async iterator over what one streamed call gives."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc):
        if "call" in metafunc.fixturenames:
            metafunc.parametrize(("call", "leads"), self.doors)

    @pytest.fixture(autouse=True)
    def instrumented(self, emulator):
        thumbprint.instrument()

    def test_its_calls_land_in_the_scope_around_it_and_what_it_gives_leads_to_them(self, emulator, call, leads):
        with thumbprint.scope() as scope:
            results = run(call()) if inspect.iscoroutinefunction(call) else call()

        logged = log_ids(emulator)
        assert [ref.id for ref in scope.refs] == (logged if leads in {"✓", "scope"} else [])
        assert results or leads == "scope"
        for result in results:
            if leads in {"✓", "result"}:
                assert led_to(result) == logged[-1:]
            else:
                with pytest.raises(thumbprint.UnknownTargetError):
                    thumbprint.record_feedback(result, thumbs="up")
        if scope.refs:
            assert led_to(scope, thumbs="down") == logged[-1:]
            assert emulator.cloudflare_logs()[-1]["feedback"] == -1

    def test_tasks_that_run_at_once_each_reach_their_own_call(self, emulator):
        ask = self.asker()

        @thumbprint.scope()
        async def task(number):
            answer = await ask(f"question {number}")
            target = [answer] if number % 2 else []
            return thumbprint.record_feedback(*target, thumbs="up", user_id=f"{number}")

        async def tasks():
            return await asyncio.gather(*map(task, range(8)))

        assert [receipt.wait(10).status for receipt in run(tasks())] == ["delivered"] * 8
        logs = emulator.cloudflare_logs()
        assert sorted(log["metadata"]["user_id"] for log in logs) == sorted(map(str, range(8)))
        for log in logs:
            assert f"question {log['metadata']['user_id']}" in log["request"]

    @pytest.mark.parametrize("status", [429, 500])
    def test_of_a_call_that_is_tried_again_only_the_last_attempt_counts(self, emulator, status):
        refused = {"cf-aig-log-id": REFUSED, "retry-after-ms": "1"}
        fault = emulator.fail("/v1/", method="POST", status=status, headers=refused, body={"error": {}})
        with thumbprint.scope() as scope:
            run(self.asker()("Where is Ulm?"))
        assert fault.hits == 1
        assert [ref.id for ref in scope.refs] == log_ids(emulator)

    def test_a_call_that_fails_is_in_no_scope_and_its_error_leads_to_it_where_it_can(self, emulator):
        with thumbprint.scope() as scope, pytest.raises(Exception, match="400") as caught:
            run(self.asker("error-400")("Where is Ulm?"))
        assert scope.refs == ()
        if self.own_error:
            assert led_to(caught.value) == log_ids(emulator)
        else:
            with pytest.raises(thumbprint.UnknownTargetError):
                thumbprint.record_feedback(caught.value, thumbs="up")

    def test_a_stream_that_is_left_early_is_in_the_scope(self, emulator):
        async def begin():
            stream = self.stream()
            async for _ in stream:
                break
            await stream.aclose()

        with thumbprint.scope() as scope:
            run(begin())
        assert [ref.id for ref in scope.refs] == log_ids(emulator)
        assert led_to(scope) == log_ids(emulator)

    def test_a_stream_goes_on_when_the_hooks_are_taken_off_under_it(self, emulator):
        async def read():
            items = []
            async for item in self.stream():
                thumbprint.uninstrument()
                items.append(item)
            return items

        with thumbprint.scope() as scope:
            assert len(run(read())) > 1
        assert [ref.id for ref in scope.refs] == log_ids(emulator)

    def test_clients_that_it_holds_are_captured_while_the_hooks_are_on_and_unchanged_when_they_are_off(self, emulator):
        def asked():
            with thumbprint.scope() as scope:
                run(ask("Where is Ulm?"))
            return len(scope.refs)

        thumbprint.uninstrument()
        before = [dict(vars(base)) for base in BASES]
        ask = self.asker()
        assert asked() == 0
        thumbprint.instrument()
        assert asked() == 1
        thumbprint.uninstrument()
        assert asked() == 0
        assert [dict(vars(base)) for base in BASES] == before
        assert len(log_ids(emulator)) == 3

    def test_through_a_braintrust_gateway_it_leads_to_the_row(self, emulator, monkeypatch):
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.braintrust_gateway_url)
        monkeypatch.setenv("OPENAI_API_KEY", emulator.environ()["BRAINTRUST_API_KEY"])
        with thumbprint.scope() as scope:
            answer = run(self.asker()("Where is Ulm?"))

        [row] = emulator.braintrust_rows()
        assert led_to(scope) == [row["id"]]
        assert led_to(answer, thumbs="down") == [row["id"]]
        assert emulator.braintrust_rows()[0]["scores"] == {"thumbs": 0}
