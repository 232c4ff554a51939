"""Contestants in processes of their own, that take turns: A B C, A B C, …

None has another's threads, imports or garbage in its process, and whatever slows the machine down for a while slows
all of them down. The first round of each warms up and is not counted.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import statistics
import time
import traceback
import warnings

LONGEST = 90.0  # seconds that a round may take


class Contestant:
    """A process in which an object of `kind(url)` plays its rounds; `missing` says why it cannot."""

    def __init__(self, kind, url):
        self.kind = kind
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=play, args=(kind, url, other), daemon=True)
        self.process.start()
        other.close()
        self.missing = self.answer()

    def round(self, count):
        """Return what was measured, by name."""
        self.pipe.send(count)
        return self.answer()

    def answer(self):
        if not self.pipe.poll(LONGEST):
            raise TimeoutError(f"{self.kind.label} has played for {LONGEST:g} s")
        answer = self.pipe.recv()
        if isinstance(answer, Failure):
            raise RuntimeError(f"{self.kind.label} failed:\n{answer.why}")
        return answer

    def end(self):
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)
        self.process.kill()


class Failure:
    def __init__(self, why):
        self.why = why


def play(kind, url, pipe):
    """Play rounds of as many calls as the pipe says, until it says None."""
    warnings.simplefilter("ignore")  # the peers' own
    try:
        contestant = kind(url)
    except ModuleNotFoundError as error:
        pipe.send(f"{error.name} is not installed")
        return
    except Exception:
        pipe.send(Failure(traceback.format_exc()))
        return
    pipe.send(None)
    while (count := pipe.recv()) is not None:
        gc.collect()
        try:
            pipe.send(contestant.round(count))
        except Exception:
            pipe.send(Failure(traceback.format_exc()))
    with contextlib.suppress(Exception):
        contestant.close()


def interleaved(kinds, sink, url, *, count, rounds):
    """Return kind → what was measured in each round, and kind → why it could not be.

    Raises RuntimeError where a contestant that delivers (`delivers`) lost something.
    """
    results, missing = {}, {}
    with contextlib.ExitStack() as ends:
        playing = []
        for kind in kinds:
            contestant = Contestant(kind, url)
            ends.callback(contestant.end)
            if contestant.missing:
                missing[kind.label] = contestant.missing
            else:
                playing.append(contestant)
                results[kind.label] = []
        for number in range(rounds + 1):
            for contestant in playing:
                sink.taken()
                measured = contestant.round(count)
                if contestant.kind.delivers:
                    await_all(sink, contestant.kind.label, count)
                if number:
                    results[contestant.kind.label].append(measured)
    return results, missing


def await_all(sink, label, count):
    """Wait until the sink has got everything; a contestant that says that it has delivered has."""
    taken = sink.taken()
    if taken != count:
        raise RuntimeError(f"{label}: of {count} pieces of feedback {taken} arrived")


def median(rounds, measure):
    return statistics.median(measured[measure] for measured in rounds)


def timed(call, arguments):
    """Call with each of the arguments, in a burst; return p50 and p99 of what the caller waits, in microseconds."""
    clock, took = time.perf_counter_ns, []
    for argument in arguments:
        began = clock()
        call(argument)
        took.append(clock() - began)
    took.sort()
    return {"p50": took[len(took) // 2] / 1e3, "p99": took[len(took) * 99 // 100] / 1e3}
