"""The fault soak: `python tests/soak --seconds 120`. Exit status: 0 when nothing was lost or disordered, else 1.

Several processes and threads record feedback, one only delivers it, and everything goes wrong that can: connections are
dropped, answers hang, come late or are errors, the services restart, processes are killed and forked. Then the trouble
ends, what is left is delivered, and all that was accepted must be at the services or among the dead letters, in order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import traceback
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from run import DURABLE, STORES, run

REST = 1 / 5  # of the time, for delivering what is left
MOST_REST = 20.0  # seconds


def main():
    chosen = arguments()
    print(f"seed {chosen.seed}, {chosen.seconds:g} seconds, over {', '.join(chosen.store)}", flush=True)
    trouble = chosen.seconds - min(MOST_REST, REST * chosen.seconds)
    started = [(store, *start(store, trouble, chosen.seed)) for store in chosen.store]
    results = {store: finished(pid, pipe) for store, pid, pipe in started}
    show({store: counts for store, (counts, _) in results.items()})
    for store, (_, violations) in results.items():
        for words in violations:
            print(f"VIOLATION over {store}: {words}")
    return 1 if any(violations for _, violations in results.values()) else 0


def arguments():
    parser = argparse.ArgumentParser(prog="python tests/soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="about how long it takes (%(default)s)")
    parser.add_argument(
        "--store", action="append", choices=STORES, help="repeatable; by default all durable ones, side by side"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of everything that is random")
    chosen = parser.parse_args()
    chosen.store = chosen.store or list(DURABLE)
    return chosen


def start(store, seconds, seed):
    """Run in a process of its own; return its pid and where it tells its counts and violations."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            tally = run(store, seconds=seconds, seed=seed)
            with os.fdopen(writing, "w") as pipe:
                json.dump([tally.counts(), tally.violations()], pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    return pid, reading


def finished(pid, reading):
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(told) if told else [{}, ["the run failed"]]


def show(counts):
    """Print a table: a column for each store."""
    names = list(dict.fromkeys(name for column in counts.values() for name in column))
    width = max(map(len, names), default=0)
    print(" " * width, *(f"{store:>9}" for store in counts))
    for name in names:
        print(f"{name:{width}}", *(f"{column.get(name, '-'):>9}" for column in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
