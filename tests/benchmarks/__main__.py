"""How fast thumbprint is, beside the SDKs that do the same and the floor that nothing can go below.

    nox -s benchmarks                               installs the peers and runs all of it, about five minutes
    nox -s benchmarks -- --only cloudflare --rounds 9 --json FILE

or, where the peers are installed already, `python tests/benchmarks`. How the numbers are made:

Every contestant lives in a process of its own and talks to the same server (`sink.py`), in another process, on the
loopback interface. In each round all contestants of a benchmark play in turn, so that whatever else the machine does
hits all of them; a first round warms up and does not count. Per contestant the median over the rounds is shown. A
ratio is the median of the rounds' own ratios, for what is measured in one round was measured within the same seconds.
Of several peers the best one counts. Ratios are what can be compared between machines; the figures themselves are for
orientation. What is measured is in `capturing.py`, `recording.py`, `delivering.py`, `remembering.py`, `serving.py` and
`signing.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import capturing
import delivering
import recording
import remembering
import serving
import signing
from rounds import interleaved, median
from sink import Sink

PACKAGES = (
    *("thumbprint", "httpx", "openai", "wrapt", "braintrust", "langfuse", "langsmith", "cloudflare", "itsdangerous"),
    *("opentelemetry-instrumentation-openai-v2", "openinference-instrumentation-openai"),
)
UNITS = {"p50": "µs", "p99": "µs", "rate": "/s", "MiB": "MiB", "added": "µs", "times": "×"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A limit for one contestant's measure: for the figure, or where `against` is given for its ratio to the best."""

    of: Any
    measure: str
    against: tuple[type, ...] = ()
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Contestants that do the same `count` times a round; `slow` has each request answered after 50 ms."""

    name: str
    what: str
    contestants: tuple[type, ...]
    count: int
    targets: tuple[Target, ...]
    slow: bool = False
    rounds: int = 7


def captures(name, what, **calls):
    """Return the benchmark of what capturing such calls adds to them, beside a hook that was written by hand."""
    contestants = capturing.contestants(**calls)
    return Benchmark(
        name=name,
        what=f"what capturing adds to {what} of OpenAI's SDK, and how many times what a hook by hand adds",
        contestants=contestants,
        count=400,
        targets=tuple(Target(of=ours, measure="times", most=1.5) for ours in contestants[:2]),
    )


PEERS = (recording.BraintrustSdk, recording.LangfuseSdk, recording.LangsmithSdk)

BENCHMARKS = (
    captures("capture", "a call"),
    captures("capture-async", "an awaited call", asynchronous=True),
    captures("capture-stream", "a streamed call", streamed=True),
    captures("capture-async-stream", "an awaited, streamed call", asynchronous=True, streamed=True),
    Benchmark(
        name="record",
        what="record_feedback in the caller's thread, memory store, bursts of 2,000",
        contestants=(recording.Ours, *PEERS),
        count=2_000,
        rounds=15,
        targets=(
            Target(of=recording.Ours, measure="p50", against=PEERS, most=1.0),
            Target(of=recording.Ours, measure="p99", most=100.0),
        ),
    ),
    Benchmark(
        name="record-sqlite",
        what="the same with sqlite, durable against kill -9 on return",
        contestants=(recording.OursSqlite, recording.OursSqliteStored, recording.SqliteInsert),
        count=2_000,
        rounds=15,
        targets=(
            Target(of=recording.OursSqlite, measure="p50", against=(recording.SqliteInsert,), most=4.0),
            Target(of=recording.OursSqliteStored, measure="p50", against=(recording.SqliteInsert,), most=4.0),
        ),
    ),
    Benchmark(
        name="braintrust",
        what="Braintrust items delivered to a loopback server",
        contestants=(
            delivering.OursToBraintrust,
            delivering.Loop,
            delivering.BraintrustSdk,
            delivering.OursToBraintrustEndToEnd,
            delivering.BraintrustSdkEndToEnd,
        ),
        count=10_000,
        rounds=11,
        targets=(
            Target(of=delivering.OursToBraintrust, measure="rate", against=(delivering.Loop,), least=0.5),
            Target(of=delivering.OursToBraintrust, measure="rate", against=(delivering.BraintrustSdk,), least=2.0),
            Target(of=delivering.OursToBraintrustEndToEnd, measure="rate", against=(delivering.BraintrustSdkEndToEnd,)),
        ),
    ),
    Benchmark(
        name="braintrust-50ms",
        what="the same with 50 ms latency",
        contestants=(delivering.OursToBraintrust, delivering.LoopInFlight, delivering.BraintrustSdk),
        count=10_000,
        slow=True,
        targets=(
            Target(of=delivering.OursToBraintrust, measure="rate", least=7_000.0),
            Target(of=delivering.OursToBraintrust, measure="rate", against=(delivering.LoopInFlight,)),
            Target(of=delivering.OursToBraintrust, measure="rate", against=(delivering.BraintrustSdk,)),
        ),
    ),
    Benchmark(
        name="cloudflare",
        what="Cloudflare PATCH, pacing off, loopback",
        contestants=(delivering.OursToCloudflare, delivering.PatchLoop, delivering.PatchInFlight),
        count=1_000,
        rounds=11,
        targets=(
            Target(of=delivering.OursToCloudflare, measure="rate", against=(delivering.PatchLoop,), least=0.9),
            Target(of=delivering.OursToCloudflare, measure="rate", against=(delivering.PatchInFlight,)),
        ),
    ),
    Benchmark(
        name="cloudflare-50ms",
        what="the same with 50 ms latency, 32 in flight",
        contestants=(delivering.OursToCloudflare, delivering.CloudflareSdk),
        count=1_280,
        slow=True,
        targets=(
            Target(of=delivering.OursToCloudflare, measure="rate", least=550.0),
            Target(of=delivering.OursToCloudflare, measure="rate", against=(delivering.CloudflareSdk,)),
        ),
    ),
    Benchmark(
        name="middleware",
        what="what the ASGI middleware adds to a bare application called in process",
        contestants=(serving.Middleware, serving.MiddlewareWithoutSecret),
        count=5_000,
        targets=(Target(of=serving.Middleware, measure="p50", most=30.0),),
    ),
    Benchmark(
        name="memory",
        what="memory of 10,000 queued items over the idle process",
        contestants=(remembering.Ours,),
        count=10_000,
        rounds=3,
        targets=(Target(of=remembering.Ours, measure="MiB", most=15.0),),
    ),
    Benchmark(
        name="token",
        what="tokens for one log entry, issued and verified",
        contestants=(signing.Ours, signing.Itsdangerous, signing.OursVerified, signing.ItsdangerousVerified),
        count=10_000,
        targets=(
            Target(of=signing.Ours, measure="p50", most=30.0),
            Target(of=signing.Ours, measure="p50", against=(signing.Itsdangerous,), most=2.0),
            Target(of=signing.OursVerified, measure="p50", most=30.0),
            Target(of=signing.OursVerified, measure="p50", against=(signing.ItsdangerousVerified,), most=2.0),
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """What came out for one target; None where it could not be measured."""

    ours: str
    value: float | None
    unit: str
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    target: str = "for orientation"
    met: bool | None = None


def judged(target, results):
    """Return the line of a target."""
    ours = results[target.of.label]
    value, unit = median(ours, target.measure), UNITS[target.measure]
    line = Line(ours=f"{target.of.label} {shown_measure(target.measure)}", value=value, unit=unit)
    lower = target.measure != "rate"
    if target.against:
        rivals = [kind.label for kind in target.against if kind.label in results]
        if not rivals:
            missing = " or ".join(kind.label for kind in target.against)
            return dataclasses.replace(line, against=f"{missing}: not installed")
        best = (min if lower else max)(rivals, key=lambda label: median(results[label], target.measure))
        pairs = zip(ours, results[best], strict=True)
        ratio = statistics.median(mine[target.measure] / theirs[target.measure] for mine, theirs in pairs)
        line = dataclasses.replace(line, against=best, other=median(results[best], target.measure), ratio=ratio)
    judged_by = line.ratio if target.against else value
    if target.most is not None:
        return dataclasses.replace(line, target=f"≤ {target.most:g}{of_what(target)}", met=judged_by <= target.most)
    if target.least is not None:
        return dataclasses.replace(line, target=f"≥ {target.least:g}{of_what(target)}", met=judged_by >= target.least)
    return line


def shown_measure(measure):
    return measure if measure.startswith("p") else ""


def of_what(target):
    return " ×" if target.against else f" {UNITS[target.measure]}"


def show(benchmark, results, missing, lines):
    print(f"\n{benchmark.what}  [{benchmark.name}]")
    for label, rounds in results.items():
        told = [f"{measure} {number(median(rounds, measure))} {UNITS[measure]}" for measure in rounds[0]]
        spread = [number(pick(each[next(iter(each))] for each in rounds)) for pick in (min, max)]
        print(f"    {label:38} {', '.join(told):34} rounds from {' to '.join(spread)}")
    for label, why in missing.items():
        print(f"    {label:38} not measured: {why}")
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f} × {line.against}"
        ratio = ratio or line.against
        met = {None: "", True: "met", False: "NOT MET"}[line.met]
        print(f"  → {line.ours:38} {number(line.value):>8} {line.unit:4} {ratio:42} {line.target:16} {met}")


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def parse_arguments():
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", action="append", choices=[each.name for each in BENCHMARKS], help="run this one; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="how many rounds count (default: 3 to 15, by benchmark)")
    parser.add_argument("--scale", type=float, default=1.0, help="the fraction of each round's calls that are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to this file")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    versions = {name: installed(name) for name in PACKAGES}
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(machine)
    print(", ".join(f"{name} {found or 'not installed'}" for name, found in versions.items()))
    report = {"machine": machine, "versions": versions, "benchmarks": []}
    with Sink() as sink:
        for benchmark in BENCHMARKS:
            if arguments.only and benchmark.name not in arguments.only:
                continue
            results, missing = interleaved(
                benchmark.contestants,
                sink,
                sink.slow if benchmark.slow else sink.fast,
                count=max(1, round(benchmark.count * arguments.scale)),
                rounds=arguments.rounds or benchmark.rounds,
            )
            lines = [judged(target, results) for target in benchmark.targets]
            show(benchmark, results, missing, lines)
            sys.stdout.flush()
            shown = [dataclasses.asdict(line) for line in lines]
            report["benchmarks"].append({"name": benchmark.name, "rounds": results, "missing": missing, "lines": shown})
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
