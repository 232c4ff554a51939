from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import math
import sys
import threading
import typing
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import thumbprint
from thumbprint import ArgumentTypeError, ArgumentValueError, LogRef, Scope, current_scope
from thumbprint._call import Call
from thumbprint._model import NON_GENERATING
from thumbprint._scope import MAX_CALLS, current_span, last_of, open_scopes, run_untraced

tracer = TracerProvider().get_tracer("tests")


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Hold for every test here: the context afterwards is the one before."""
    before = otel.get_current()
    yield
    after, scope = otel.get_current(), current_scope()
    otel.attach(before)
    assert after == before
    assert scope is None


def ref(name, operation="chat"):
    return LogRef(backend="cloudflare", id=name, operation=operation)


def make_call(name, operation="chat"):
    """Do what the capture does when a call has been made: report it to every scope that is open."""
    call = Call([ref(name, operation)])
    for scope in open_scopes():
        scope.report(call)
    return call


def ids(scope):
    return [found.id for found in scope.refs]


# what a scope is


def test_a_scope_collects_the_calls_made_inside_it_in_order():
    make_call("before")
    with thumbprint.scope() as scope:
        assert scope.refs == ()
        make_call("1")
        make_call("2")
        assert current_scope() is scope
    make_call("after")
    assert scope.refs == (ref("1"), ref("2"))
    assert current_scope() is None


def test_an_async_scope_collects_the_calls_made_inside_it():
    async def main():
        async with thumbprint.scope() as scope:
            make_call("1")
            await asyncio.sleep(0)
            make_call("2")
            assert current_scope() is scope
        assert current_scope() is None
        make_call("after")
        return scope

    assert ids(asyncio.run(main())) == ["1", "2"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_an_exception_passes_through_and_the_scope_is_left(error):
    def raise_it():
        make_call("1")
        raise error("mine")

    async def main():
        async with thumbprint.scope():
            raise_it()

    scope = thumbprint.scope()
    with pytest.raises(error, match="mine"), scope:
        raise_it()
    assert ids(scope) == ["1"]
    assert current_scope() is None
    with contextlib.suppress(KeyboardInterrupt), pytest.raises(error):
        asyncio.run(main())


def test_a_scope_has_the_id_that_it_was_given():
    assert thumbprint.scope(id="message-1").id == "message-1"
    assert thumbprint.scope("message-1").id == "message-1"


def test_fresh_ids_are_unique_and_too_long_to_be_guessed():
    fresh = {thumbprint.scope().id for _ in range(1000)}
    assert len(fresh) == 1000
    letters = {letter for name in fresh for letter in name}
    assert min(map(len, fresh)) * math.log2(len(letters)) >= 128


def test_a_fresh_id_is_made_when_it_is_first_asked_for_and_stays(monkeypatch):
    with monkeypatch.context() as drawn:
        drawn.setattr("os.urandom", lambda _: pytest.fail("chance was used"))
        scope = thumbprint.scope()
        decorated = thumbprint.scope()(lambda: current_scope().id)
        with scope:
            make_call("call-1")
    assert scope.id == scope.id
    assert scope.id in repr(scope)
    assert decorated() != decorated()


@pytest.mark.parametrize("name", ["x", "x" * 1024, "ü" * 1024, "with space", "\n"])
def test_an_id_of_1_to_1024_characters_is_taken(name):
    assert thumbprint.scope(name).id == name


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("", ArgumentValueError, "from 1 to 1024 characters, not 0"),
        ("x" * 1025, ArgumentValueError, "from 1 to 1024 characters, not 1025"),
        ("\ud800", ArgumentValueError, "cannot be written as UTF-8"),
        (17, ArgumentTypeError, "id=17: the id of a scope is a string"),
        (b"x" * 10_000, ArgumentTypeError, "is a string"),
        (True, ArgumentTypeError, "is a string"),
    ],
)
def test_another_id_is_refused(name, error, why):
    with pytest.raises(error, match=why) as refused:
        thumbprint.scope(name)
    assert refused.value.argument == "id"
    assert len(str(refused.value)) < 200


def test_a_decorator_without_its_parentheses_is_refused_with_a_hint():
    with pytest.raises(ArgumentTypeError, match=r"as a decorator write @thumbprint\.scope\(\)"):

        @thumbprint.scope
        def function():
            pass


def test_a_scopes_repr_tells_its_id_and_how_many_calls_it_has():
    with thumbprint.scope("message-1") as scope:
        make_call("1")
    assert repr(scope) == "<Scope 'message-1': 1 call>"


def test_of_more_than_10000_calls_the_oldest_are_forgotten():
    assert MAX_CALLS == 10_000
    with thumbprint.scope() as scope:
        for number in range(10_003):
            make_call(str(number))
    assert len(scope.refs) == 10_000
    assert (scope.refs[0].id, scope.last.id) == ("3", "10002")


# last


def test_the_last_of_nothing_is_nothing():
    assert thumbprint.scope().last is None
    assert last_of(()) is None


@pytest.mark.parametrize("operation", sorted(NON_GENERATING))
def test_last_passes_over_a_call_that_generated_nothing(operation):
    with thumbprint.scope() as scope:
        make_call("first")
        make_call("answer", "responses")
        make_call("later", operation)
    assert scope.last == ref("answer", "responses")
    assert len(scope.refs) == 3


def test_where_nothing_was_generated_last_is_the_last_of_any_kind():
    with thumbprint.scope() as scope:
        make_call("1", "embeddings")
        make_call("2", "list")
    assert scope.last.id == "2"


def test_a_call_of_an_unknown_operation_counts_as_generating():
    with thumbprint.scope() as scope:
        make_call("1")
        make_call("2", None)
        make_call("3", "embeddings")
    assert scope.last.id == "2"


def test_of_one_call_with_two_log_entries_last_is_the_latter_and_refs_has_both():
    scope = thumbprint.scope()
    scope.report(Call([ref("inner"), LogRef(backend="braintrust", id="outer", operation="chat")]))
    assert scope.last.id == "outer"
    assert ids(scope) == ["inner", "outer"]


# scopes in scopes


def test_inner_scopes_report_to_the_outer_ones_too():
    with thumbprint.scope() as outer:
        make_call("1")
        with thumbprint.scope() as inner:
            make_call("2")
            assert current_scope() is inner
            assert list(open_scopes()) == [inner, outer]
        assert current_scope() is outer
        make_call("3")
    assert ids(outer) == ["1", "2", "3"]
    assert ids(inner) == ["2"]


def test_a_scope_that_is_entered_twice_gets_each_call_once():
    with thumbprint.scope() as outer, thumbprint.scope() as inner:
        with outer:
            make_call("1")
            assert list(open_scopes()) == [outer, inner]
        make_call("2")
        assert list(open_scopes()) == [inner, outer]
    assert ids(outer) == ids(inner) == ["1", "2"]


def test_a_scope_can_be_entered_again_and_goes_on_collecting():
    scope = thumbprint.scope()
    for name in ("1", "2"):
        with scope:
            make_call(name)
    assert ids(scope) == ["1", "2"]


def test_scopes_left_in_another_order_than_entered_leave_nothing_behind():
    first, second, third = thumbprint.scope(), thumbprint.scope(), thumbprint.scope()
    first.__enter__()
    second.__enter__()
    third.__enter__()
    first.__exit__(None, None, None)
    assert list(open_scopes()) == [third, second]
    make_call("1")
    third.__exit__(None, None, None)
    assert list(open_scopes()) == [second]
    make_call("2")
    second.__exit__(None, None, None)
    assert list(open_scopes()) == []
    assert (ids(first), ids(second), ids(third)) == ([], ["1", "2"], ["1"])


def test_a_scope_that_is_left_before_its_inner_one_changes_nothing_else_there():
    outer, inner = thumbprint.scope(), thumbprint.scope()
    outer.__enter__()
    otel.attach(otel.set_value("between", 1))
    inner.__enter__()
    otel.attach(otel.set_value("inside", 2))
    outer.__exit__(None, None, None)
    assert (otel.get_value("between"), otel.get_value("inside")) == (1, 2)
    inner.__exit__(None, None, None)
    assert (otel.get_value("between"), otel.get_value("inside")) == (1, None)
    otel.attach(otel.Context())


def test_with_blocks_in_generators_that_are_interleaved_leave_nothing_behind():
    def steps():
        with thumbprint.scope():
            yield
            yield

    one, other = steps(), steps()
    next(one)
    next(other)
    one.close()
    other.close()
    assert current_scope() is None


def test_leaving_a_scope_that_is_not_open_here_changes_nothing():
    before = otel.get_current()
    thumbprint.scope().__exit__(None, None, None)
    assert otel.get_current() is before
    with thumbprint.scope() as scope:
        inside = otel.get_current()
        thumbprint.scope().__exit__(None, None, None)
        assert otel.get_current() is inside
        assert current_scope() is scope


def test_a_scope_that_is_left_in_another_task_than_it_was_entered_in_harms_neither():
    async def generate(scope):
        with scope:
            yield "item"

    async def enter(scope):
        generator = generate(scope)
        await anext(generator)
        return generator

    async def main():
        scope = thumbprint.scope()
        generator = await asyncio.create_task(enter(scope))
        assert current_scope() is None
        with thumbprint.scope() as mine:
            await generator.aclose()
            make_call("1")
            assert current_scope() is mine
        return scope, mine

    scope, mine = asyncio.run(main())
    assert (ids(scope), ids(mine)) == ([], ["1"])


def test_a_scope_that_is_left_in_another_thread_than_it_was_entered_in_is_closed_and_harms_nobody():
    scope = thumbprint.scope()
    faults = []

    def leave():
        try:
            with thumbprint.scope() as mine:
                scope.__exit__(None, None, None)
                assert current_scope() is mine
            assert current_scope() is None
        except AssertionError as error:
            faults.append(error)

    with scope:
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        assert current_scope() is None
    assert faults == []


# tasks and threads


def test_child_tasks_and_to_thread_report_to_the_scope_that_they_were_started_in():
    async def child(name):
        await asyncio.sleep(0)
        make_call(name)

    async def main():
        with thumbprint.scope() as scope:
            late = asyncio.create_task(child("late"))
            await asyncio.gather(child("1"), asyncio.create_task(child("2")))
            await asyncio.to_thread(make_call, "3")
            async with asyncio.TaskGroup() as group:
                group.create_task(child("4"))
        await late
        return scope

    assert sorted(ids(asyncio.run(main()))) == ["1", "2", "3", "4", "late"]


def test_a_task_that_outlives_its_scope_no_longer_reports_to_it():
    """Were it otherwise, a worker that the first request started would serve all others in the first one's scope."""

    async def main():
        left = asyncio.Event()

        async def child():
            make_call("inside")
            await left.wait()
            make_call("after")
            with thumbprint.scope() as own:
                make_call("its own")
            return own, current_scope()

        with thumbprint.scope() as scope:
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
        left.set()
        own, current = await task
        return ids(scope), ids(own), current

    assert asyncio.run(main()) == (["inside"], ["its own"], None)


def test_a_span_that_a_task_started_stays_current_when_it_leaves_a_scope_after_its_parents_ended():
    async def main():
        left = asyncio.Event()

        async def child():
            with tracer.start_as_current_span("mine") as span:
                await left.wait()
                with thumbprint.scope():
                    pass
                return current_span()[1] == f"{span.get_span_context().span_id:016x}"

        with thumbprint.scope():
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
        left.set()
        return await task

    assert asyncio.run(main())


def test_a_context_that_is_put_back_after_the_scope_ended_does_not_bring_it_back():
    with thumbprint.scope() as outer:
        scope = thumbprint.scope()
        scope.__enter__()
        token = otel.attach(otel.set_value("a span", 1))
        scope.__exit__(None, None, None)
        otel.detach(token)
        assert current_scope() is outer
        make_call("1")
        with thumbprint.scope():
            pass
    assert (ids(scope), ids(outer)) == ([], ["1"])
    otel.attach(otel.Context())


def test_a_generator_reports_to_the_scopes_around_each_of_its_steps():
    @thumbprint.scope()
    def steps():
        otel.attach(otel.set_value("mine", True))
        make_call("1")
        yield
        make_call("2")
        yield

    generator = steps()
    with thumbprint.scope() as one:
        next(generator)
    with thumbprint.scope() as other:
        next(generator)
    assert (ids(one), ids(other)) == (["1"], ["2"])


def test_a_bare_thread_reports_to_no_scope():
    with thumbprint.scope() as scope:
        thread = threading.Thread(target=make_call, args=("1",))
        thread.start()
        thread.join()
    assert ids(scope) == []


def test_a_scope_that_a_child_task_opens_is_not_seen_by_its_parent_and_reports_to_the_parents():
    async def child():
        with thumbprint.scope() as scope:
            await asyncio.sleep(0)
            make_call("1")
            await asyncio.sleep(0)
            return scope

    async def main():
        with thumbprint.scope() as outer:
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            assert current_scope() is outer
            return outer, await task

    outer, inner = asyncio.run(main())
    assert ids(outer) == ids(inner) == ["1"]


def test_40_tasks_and_40_jobs_of_reused_threads_each_see_only_their_own_calls():
    def job(name):
        assert current_scope() is None
        with thumbprint.scope(name) as scope:
            for step in range(5):
                make_call(f"{name}-{step}")
                with thumbprint.scope():
                    make_call(f"{name}-{step}-inner")
        assert current_scope() is None
        return scope

    async def task(name, gate):
        await gate.wait()
        async with thumbprint.scope(name) as scope:
            for step in range(5):
                make_call(f"{name}-{step}")
                await asyncio.sleep(0)
                with thumbprint.scope():
                    await asyncio.sleep(0)
                    make_call(f"{name}-{step}-inner")
        return scope

    async def main():
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()
        with ThreadPoolExecutor(8) as pool:
            tasks = [asyncio.create_task(task(f"task-{number}", gate)) for number in range(40)]
            jobs = [loop.run_in_executor(pool, job, f"job-{number}") for number in range(40)]
            gate.set()
            return await asyncio.gather(*tasks, *jobs)

    scopes = asyncio.run(main())
    assert len(scopes) == 80
    for scope in scopes:
        assert ids(scope) == [f"{scope.id}-{step}{part}" for step in range(5) for part in ("", "-inner")]


def test_one_scope_that_is_entered_in_many_tasks_at_once_collects_all_their_calls():
    async def task(scope, name):
        async with scope:
            await asyncio.sleep(0)
            make_call(name)
            assert list(open_scopes()) == [scope]
            await asyncio.sleep(0)
        assert current_scope() is None

    async def main():
        scope = thumbprint.scope()
        await asyncio.gather(*(task(scope, str(number)) for number in range(40)))
        return scope

    assert sorted(ids(asyncio.run(main())), key=int) == [str(number) for number in range(40)]


def test_threads_that_ask_for_a_fresh_id_at_once_get_the_same():
    gate = threading.Barrier(8)

    def ask(scope):
        gate.wait(30)
        return scope.id

    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            assert len(set(pool.map(ask, [thumbprint.scope()] * 8))) == 1


def test_threads_that_report_while_another_reads_lose_nothing():
    scope = thumbprint.scope()
    gate = threading.Barrier(5)
    seen = []

    def work(name):
        gate.wait()
        with scope:
            for number in range(500):
                make_call(f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    gate.wait()
    while any(thread.is_alive() for thread in threads):
        seen.append(len(scope.refs))
    for thread in threads:
        thread.join()
    assert len(set(ids(scope))) == 2000
    assert seen == sorted(seen)


# decorated functions


def test_every_call_of_a_decorated_function_has_a_scope_of_its_own():
    @thumbprint.scope()
    def function(name):
        make_call(name)
        return current_scope()

    one, other = function("1"), function("2")
    assert one is not other
    assert one.id != other.id
    assert (ids(one), ids(other)) == (["1"], ["2"])
    assert current_scope() is None


def test_a_decorated_function_may_call_itself():
    @thumbprint.scope()
    def function(depth):
        inner = function(depth - 1) if depth else []
        make_call(str(depth))
        return [*inner, ids(current_scope())]

    assert function(2) == [["0"], ["0", "1"], ["0", "1", "2"]]


def test_a_decorators_id_is_that_of_every_call():
    @thumbprint.scope(id="fixed")
    def function():
        return current_scope()

    assert function().id == function().id == "fixed"
    assert function() is not function()


def test_arguments_results_and_exceptions_pass_through_a_decorated_function():
    @thumbprint.scope()
    def function(*args, **kwargs):
        if kwargs.get("fail"):
            raise LookupError(args)
        return args, kwargs

    assert function(1, 2, function=3, fresh=4, self=5) == ((1, 2), {"function": 3, "fresh": 4, "self": 5})
    with pytest.raises(LookupError, match="1"):
        function(1, fail=True)
    assert current_scope() is None


def test_a_decorated_coroutine_runs_in_a_scope_of_its_own():
    @thumbprint.scope()
    async def coroutine(name):
        await asyncio.sleep(0)
        make_call(name)
        await asyncio.sleep(0)
        return current_scope()

    async def main():
        return await asyncio.gather(*(coroutine(str(number)) for number in range(10)))

    scopes = asyncio.run(main())
    assert [ids(scope) for scope in scopes] == [[str(number)] for number in range(10)]


def test_a_decorated_coroutine_that_is_cancelled_is_left():
    seen = []

    @thumbprint.scope()
    async def coroutine():
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(current_scope())

    async def main():
        task = asyncio.create_task(coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert isinstance(seen[0], Scope)


# decorated generators


def test_a_decorated_generator_is_in_its_scope_and_its_caller_outside_between_the_steps():
    @thumbprint.scope()
    def generate():
        for name in ("1", "2", "3"):
            make_call(name)
            yield current_scope()

    with thumbprint.scope() as callers:
        scopes = []
        for scope in generate():
            assert current_scope() is callers
            make_call("caller's")
            scopes.append(scope)
    assert len(set(scopes)) == 1
    assert ids(scopes[0]) == ["1", "2", "3"]
    assert ids(callers) == ["1", "caller's", "2", "caller's", "3", "caller's"]


def test_a_generator_does_not_run_before_its_first_step():
    ran = []

    @thumbprint.scope()
    def generate():
        ran.append(1)
        yield

    generator = generate()
    assert ran == []
    generator.close()
    assert ran == []
    with pytest.raises(StopIteration):
        next(generator)


def test_values_errors_and_the_return_value_pass_both_ways_through_a_decorated_generator():
    @thumbprint.scope()
    def generate():
        got = []
        while len(got) < 3:
            try:
                got.append((yield len(got)))
            except LookupError as error:
                got.append(str(error))
                make_call("thrown")
        return got, ids(current_scope())

    generator = generate()
    assert next(generator) == 0
    assert generator.send("sent") == 1
    assert generator.throw(LookupError("thrown")) == 2
    assert current_scope() is None
    with pytest.raises(StopIteration) as stopped:
        generator.send("end")
    assert stopped.value.value == (["sent", "thrown", "end"], ["thrown"])


def test_a_decorated_generator_can_be_delegated_to():
    @thumbprint.scope()
    def inner():
        got = yield 1
        return got

    def outer():
        return (yield from inner())

    generator = outer()
    assert next(generator) == 1
    with pytest.raises(StopIteration) as stopped:
        generator.send("sent")
    assert stopped.value.value == "sent"


def test_an_error_that_a_generator_does_not_catch_comes_back_and_ends_it():
    @thumbprint.scope()
    def generate():
        yield 1

    generator = generate()
    next(generator)
    thrown = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        generator.throw(thrown)
    assert caught.value is thrown
    with pytest.raises(StopIteration):
        next(generator)


def test_an_error_that_a_generator_raises_comes_through():
    @thumbprint.scope()
    def generate():
        yield 1
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(generate())
    assert current_scope() is None


def test_closing_a_decorated_generator_lets_it_clean_up_inside_its_scope():
    seen = []

    @thumbprint.scope()
    def generate():
        try:
            yield current_scope()
        finally:
            make_call("clean-up")
            seen.append(current_scope())

    generator = generate()
    scope = next(generator)
    generator.close()
    assert seen == [scope]
    assert ids(scope) == ["clean-up"]
    assert current_scope() is None


def test_a_generator_that_has_caught_an_error_is_closed_without_it():
    @thumbprint.scope()
    def generate():
        with contextlib.suppress(LookupError):
            yield 1
        yield 2

    generator = generate()
    next(generator)
    assert generator.throw(LookupError("caught")) == 2
    generator.close()
    with pytest.raises(StopIteration):
        next(generator)


def test_a_generator_that_is_dropped_is_closed_inside_its_scope():
    seen = []

    @thumbprint.scope()
    def generate():
        try:
            yield
        finally:
            seen.append(current_scope())

    generator = generate()
    next(generator)
    del generator
    gc.collect()
    assert isinstance(seen[0], Scope)
    assert current_scope() is None


def test_a_generator_that_yields_when_it_is_closed_is_told_so_as_ever():
    @thumbprint.scope()
    def generate():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = generate()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()
    assert current_scope() is None


def test_interleaved_generators_keep_their_own_scopes():
    @thumbprint.scope()
    def generate(name):
        for step in range(3):
            make_call(f"{name}-{step}")
            yield current_scope()

    pairs = list(zip(generate("a"), generate("b"), strict=True))
    assert len(set(pairs)) == 1
    assert [ids(scope) for scope in pairs[0]] == [["a-0", "a-1", "a-2"], ["b-0", "b-1", "b-2"]]


def test_a_generator_whose_steps_run_in_several_threads_keeps_its_scope():
    @thumbprint.scope()
    def generate():
        for step in range(4):
            make_call(str(step))
            yield current_scope()

    async def main():
        generator = generate()
        return [await asyncio.to_thread(next, generator) for _ in range(4)]

    scopes = asyncio.run(main())
    assert len(set(scopes)) == 1
    assert ids(scopes[0]) == ["0", "1", "2", "3"]


# decorated async generators


def test_a_decorated_async_generator_is_in_its_scope_and_its_caller_outside_between_the_steps():
    @thumbprint.scope()
    async def generate():
        for name in ("1", "2"):
            await asyncio.sleep(0)
            make_call(name)
            yield current_scope()

    async def main():
        scopes = []
        async for scope in generate():
            assert current_scope() is None
            make_call("caller's")
            scopes.append(scope)
        return scopes

    scopes = asyncio.run(main())
    assert len(set(scopes)) == 1
    assert ids(scopes[0]) == ["1", "2"]


def test_values_and_errors_pass_both_ways_through_a_decorated_async_generator():
    @thumbprint.scope()
    async def generate():
        got = []
        while True:
            try:
                got.append((yield list(got)))
            except LookupError as error:
                make_call(str(error))
                got.append(ids(current_scope()))

    async def main():
        generator = generate()
        assert await anext(generator) == []
        assert await generator.asend("sent") == ["sent"]
        assert await generator.athrow(LookupError("thrown")) == ["sent", ["thrown"]]
        assert current_scope() is None
        with pytest.raises(ValueError, match="not caught"):
            await generator.athrow(ValueError("not caught"))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    asyncio.run(main())


def test_closing_a_decorated_async_generator_lets_it_clean_up_inside_its_scope():
    seen = []

    @thumbprint.scope()
    async def generate():
        try:
            yield current_scope()
        finally:
            await asyncio.sleep(0)
            make_call("clean-up")
            seen.append(current_scope())

    async def main():
        generator = generate()
        scope = await anext(generator)
        await generator.aclose()
        assert current_scope() is None
        assert seen == [scope]
        assert ids(scope) == ["clean-up"]

    asyncio.run(main())


def test_an_async_generator_that_has_caught_an_error_is_closed_without_it():
    @thumbprint.scope()
    async def generate():
        with contextlib.suppress(LookupError):
            yield 1
        yield 2

    async def main():
        generator = generate()
        await anext(generator)
        assert await generator.athrow(LookupError("caught")) == 2
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    asyncio.run(main())


def test_an_async_generator_whose_step_is_cancelled_cleans_up_inside_its_scope():
    seen = []

    @thumbprint.scope()
    async def generate():
        yield current_scope()
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(current_scope())

    async def main():
        generator = generate()
        scope = await anext(generator)
        step = asyncio.ensure_future(anext(generator))
        await asyncio.sleep(0)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        return scope

    assert [asyncio.run(main())] == seen


def test_interleaved_async_generators_keep_their_own_scopes():
    @thumbprint.scope()
    async def generate(name):
        for step in range(3):
            make_call(f"{name}-{step}")
            await asyncio.sleep(0)
            yield current_scope()

    async def main():
        one, other = generate("a"), generate("b")
        pairs = [(await anext(one), await anext(other)) for _ in range(3)]
        together = await asyncio.gather(*(collect(generate(str(number))) for number in range(10)))
        await one.aclose()
        await other.aclose()
        return pairs, together

    async def collect(generator):
        return [scope async for scope in generator]

    pairs, together = asyncio.run(main())
    assert [ids(scope) for scope in pairs[0]] == [["a-0", "a-1", "a-2"], ["b-0", "b-1", "b-2"]]
    assert [ids(scopes[0]) for scopes in together] == [[f"{n}-0", f"{n}-1", f"{n}-2"] for n in range(10)]


# a generator's own changes to the context


def test_a_span_that_a_generator_starts_is_current_in_all_its_steps_and_never_for_its_caller():
    @thumbprint.scope()
    def generate():
        yield trace.get_current_span(), current_scope()
        with tracer.start_as_current_span("mine"):
            yield trace.get_current_span(), current_scope()
            with tracer.start_as_current_span("deeper"):
                yield trace.get_current_span(), current_scope()
            yield trace.get_current_span(), current_scope()
        yield trace.get_current_span(), current_scope()

    with tracer.start_as_current_span("caller's") as callers:
        steps = []
        for step in generate():
            assert trace.get_current_span() is callers
            assert current_scope() is None
            steps.append(step)
    names = [span.name for span, _ in steps]
    assert names == ["caller's", "mine", "deeper", "mine", "caller's"]
    assert len({scope for _, scope in steps}) == 1


def test_a_key_that_an_async_generator_sets_is_there_in_all_its_steps_and_never_for_its_caller():
    @thumbprint.scope()
    async def generate():
        token = otel.attach(otel.set_value("mine", "kept"))
        yield otel.get_value("mine"), current_scope()
        await asyncio.sleep(0)
        yield otel.get_value("mine"), current_scope()
        otel.detach(token)
        yield otel.get_value("mine"), current_scope()

    async def main():
        steps = []
        async for step in generate():
            assert otel.get_value("mine") is None
            assert current_scope() is None
            steps.append(step)
        return steps

    steps = asyncio.run(main())
    assert [value for value, _ in steps] == ["kept", "kept", None]
    assert len({scope for _, scope in steps}) == 1


def test_the_clean_up_of_a_closed_generator_is_inside_its_own_span():
    seen = []

    @thumbprint.scope()
    def generate():
        with tracer.start_as_current_span("mine"):
            try:
                yield
            finally:
                seen.append(trace.get_current_span().name)

    generator = generate()
    next(generator)
    generator.close()
    assert seen == ["mine"]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_generator_that_changes_nothing_sees_what_its_caller_has_set_between_the_steps():
    @thumbprint.scope()
    def generate():
        while True:
            yield otel.get_value("caller's")

    generator = generate()
    assert next(generator) is None
    token = otel.attach(otel.set_value("caller's", 1))
    assert next(generator) == 1
    otel.detach(token)
    assert next(generator) is None
    generator.close()


# what else can be decorated


class Chat:
    """Methods of every kind."""

    @thumbprint.scope()
    def method(self, name):
        make_call(name)
        return self, current_scope()

    @thumbprint.scope()
    async def coroutine_method(self, name):
        make_call(name)
        return self, current_scope()

    @thumbprint.scope()
    def generator_method(self, name):
        make_call(name)
        yield self, current_scope()

    @thumbprint.scope()
    @staticmethod
    def static_inside(name):
        make_call(name)
        return Chat, current_scope()

    @staticmethod
    @thumbprint.scope()
    def static_outside(name):
        make_call(name)
        return Chat, current_scope()

    @thumbprint.scope()
    @classmethod
    def class_inside(cls, name):
        make_call(name)
        return cls, current_scope()

    @classmethod
    @thumbprint.scope()
    def class_outside(cls, name):
        make_call(name)
        return cls, current_scope()

    @thumbprint.scope()
    def __call__(self, name):
        make_call(name)
        return self, current_scope()


@pytest.mark.parametrize(
    "called",
    ["method", "static_inside", "static_outside", "class_inside", "class_outside", "__call__"],
)
def test_methods_of_every_kind_are_bound_as_ever_and_have_a_scope_for_each_call(called):
    chat = Chat()
    bound, scope = getattr(chat, called)("1")
    assert bound is (chat if called in {"method", "__call__"} else Chat)
    assert ids(scope) == ["1"]
    assert getattr(chat, called)(name="2")[1] is not scope
    if bound is Chat:
        assert getattr(Chat, called)("3")[0] is Chat


def test_coroutine_and_generator_methods_have_a_scope_for_each_call():
    chat = Chat()
    bound, scope = asyncio.run(chat.coroutine_method("1"))
    assert (bound, ids(scope)) == (chat, ["1"])
    [(bound, scope)] = chat.generator_method("2")
    assert (bound, ids(scope)) == (chat, ["2"])


class CallableObject:
    def __call__(self, name):
        make_call(name)
        return current_scope()


class AsyncCallableObject:
    async def __call__(self, name):
        make_call(name)
        return current_scope()


class GeneratorCallableObject:
    def __call__(self, name):
        make_call(name)
        yield current_scope()


async def coroutine_function(name, repeat=1):
    for _ in range(repeat):
        make_call(name)
    return current_scope()


def generator_function(name, repeat=1):
    for _ in range(repeat):
        make_call(name)
        yield current_scope()


async def async_generator_function(name, repeat=1):
    for _ in range(repeat):
        make_call(name)
        yield current_scope()


def plain_function(name, repeat=1):
    for _ in range(repeat):
        make_call(name)
    return current_scope()


EVERY_FUNCTION = [plain_function, coroutine_function, generator_function, async_generator_function]


def plainly_decorated(function):
    """Hide the function's kind, as a decorator does that nobody wrote for coroutines."""

    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def run(result):
    """Return the scope in which something ran, however it has to be run."""

    async def awaited():
        if inspect.isasyncgen(result):
            return [item async for item in result]
        return await result

    if inspect.iscoroutine(result):
        return asyncio.run(awaited())
    if inspect.isasyncgen(result):
        return asyncio.run(awaited())[-1]
    return list(result)[-1] if inspect.isgenerator(result) else result


@pytest.mark.parametrize(
    "function",
    [
        *EVERY_FUNCTION,
        *(functools.partial(function, repeat=1) for function in EVERY_FUNCTION),
        *(plainly_decorated(function) for function in EVERY_FUNCTION),
        plainly_decorated(plainly_decorated(generator_function)),
        CallableObject(),
        AsyncCallableObject(),
        GeneratorCallableObject(),
        functools.partial(AsyncCallableObject()),
        Chat().method,
    ],
)  # fmt: skip
def test_whatever_can_be_called_is_decorated_and_each_call_has_a_scope_of_its_own(function):
    decorated = thumbprint.scope()(function)
    one, other = run(decorated("1")), run(decorated(name="2"))
    if isinstance(one, tuple):
        one, other = one[1], other[1]
    assert one is not other
    assert (ids(one), ids(other)) == (["1"], ["2"])
    assert current_scope() is None


def test_a_generator_hidden_behind_another_decorator_keeps_one_scope_for_all_its_steps():
    decorated = thumbprint.scope()(plainly_decorated(generator_function))
    scopes = []
    for scope in decorated("1", repeat=3):
        assert current_scope() is None
        scopes.append(scope)
    assert len(set(scopes)) == 1
    assert ids(scopes[0]) == ["1", "1", "1"]


def test_what_a_plain_function_has_called_and_its_hidden_generator_calls_later_are_in_one_scope():
    @thumbprint.scope()
    def function():
        make_call("at once")
        return generator_function("later")

    assert ids(run(function())) == ["at once", "later"]


@pytest.mark.parametrize("value", [[1], iter([1]), {}, None, "text", range(3)])
def test_any_other_result_of_a_plain_function_is_given_back_itself(value):
    assert thumbprint.scope()(lambda: value)() is value


@pytest.mark.parametrize("target", [Chat, int, 1, "text", None, property(len), object()])
def test_what_is_no_function_is_not_decorated(target):
    with pytest.raises(ArgumentTypeError, match=r"decorates functions and methods, not") as refused:
        thumbprint.scope()(target)
    assert refused.value.argument == "function"


def test_a_scope_is_one_object_used_both_ways():
    scope = thumbprint.scope("both")

    @scope
    def function():
        make_call("decorated")
        return current_scope()

    with scope:
        assert function() is not scope
    assert ids(scope) == ["decorated"]


# what frameworks look at


def documented(question: str, *, limit: int = 3) -> list[str]:
    """Say what it does."""
    return [question] * limit


async def documented_coroutine(question: str, *, limit: int = 3) -> list[str]:
    """Say what it does."""
    return [question] * limit


def documented_generator(question: str, *, limit: int = 3) -> typing.Iterator[str]:
    """Say what it does."""
    yield question * limit


async def documented_async_generator(question: str, *, limit: int = 3) -> typing.AsyncIterator[str]:
    """Say what it does."""
    yield question * limit


DOCUMENTED = [documented, documented_coroutine, documented_generator, documented_async_generator]


@pytest.mark.parametrize("function", DOCUMENTED)
def test_a_decorated_function_looks_like_itself_to_whoever_inspects_it(function):
    decorated = thumbprint.scope()(function)
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(decorated, name) == getattr(function, name)
    assert inspect.signature(decorated) == inspect.signature(function)
    assert inspect.signature(decorated, eval_str=True).parameters["limit"].annotation is int
    assert typing.get_type_hints(decorated)["question"] is str
    assert inspect.unwrap(decorated) is function


@pytest.mark.parametrize("function", DOCUMENTED)
def test_a_decorated_function_is_of_the_kind_that_it_was(function):
    decorated = thumbprint.scope()(function)
    for is_kind in (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert is_kind(decorated) == is_kind(function)


def test_decorated_methods_are_of_the_kind_that_they_were():
    assert inspect.iscoroutinefunction(Chat().coroutine_method)
    assert inspect.isgeneratorfunction(Chat().generator_method)
    assert isinstance(vars(Chat)["static_inside"], staticmethod)
    assert isinstance(vars(Chat)["class_inside"], classmethod)
    assert str(inspect.signature(Chat().method)) == "(name)"
    assert str(inspect.signature(Chat.class_inside)) == "(name)"


def test_a_generators_own_name_is_the_functions():
    generator = thumbprint.scope()(documented_generator)("x")
    assert generator.__name__ == "documented_generator"


# spans


def test_the_current_span_is_told_in_hex_and_none_is_told_as_two_nones():
    assert current_span() == (None, None)
    with tracer.start_as_current_span("mine") as span:
        trace_id, span_id = current_span()
        assert (int(trace_id, 16), int(span_id, 16)) == (span.get_span_context().trace_id, span.context.span_id)
        assert (len(trace_id), len(span_id)) == (32, 16)
    assert current_span() == (None, None)


def test_where_opentelemetrys_tracing_was_never_imported_there_is_no_span(monkeypatch):
    with tracer.start_as_current_span("mine"):
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        assert current_span() == (None, None)


def test_a_span_that_is_started_inside_a_scope_ends_with_it():
    with thumbprint.scope():
        otel.attach(trace.set_span_in_context(tracer.start_span("left open")))
        assert current_span() != (None, None)
    assert current_span() == (None, None)


def test_what_runs_untraced_is_in_no_scope_and_no_span_and_asks_instrumentations_to_look_away():
    seen = {}

    def look():
        seen["scope"] = current_scope()
        seen["span"] = current_span()
        seen["suppressed"] = [
            otel.get_value(otel._SUPPRESS_INSTRUMENTATION_KEY),
            otel.get_value(otel._SUPPRESS_HTTP_INSTRUMENTATION_KEY),
        ]

    async def main():
        with thumbprint.scope(), tracer.start_as_current_span("mine"):
            await asyncio.to_thread(run_untraced, look)

    asyncio.run(main())
    assert seen == {"scope": None, "span": (None, None), "suppressed": [True, True]}


def test_a_generator_that_took_its_own_context_back_sees_its_callers_newest():
    @thumbprint.scope()
    def steps():
        token = otel.attach(otel.set_value("mine", True))
        yield otel.get_value("callers")
        otel.detach(token)
        yield otel.get_value("callers")
        yield otel.get_value("callers")

    generator = steps()
    seen = [next(generator)]
    token = otel.attach(otel.set_value("callers", "new"))
    seen += list(generator)
    otel.detach(token)
    assert seen == [None, None, "new"]
