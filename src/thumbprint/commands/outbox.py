"""`thumbprint outbox`: what waits in a store, what failed for good, and what shall become of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from .._config import STORE, store_from
from .._words import briefly, counted, printable, span
from ..errors import ConfigurationError, StoreError
from . import _arguments
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._model import Item
    from ..stores import Store

LIMIT: Final = 20
SHOWN: Final = 500  # characters of a reason
ROW: Final = "(the log entry itself)"  # of a call that thumbprint logs

DESCRIPTION: Final = """\
Show how much feedback waits to be delivered, and how much has failed for good (dead letters), for each service. A
store in a file must be there: a path that leads to none is an error, and no file is made.

With --json, one JSON document on stdout. All times are in seconds, those called ..._at since 1970.
  outbox         {"waiting", "dead", "backends": [{"backend", "waiting", "oldest_at", "oldest_age", "dead"}]}
  outbox list    {"items": [{"id", "backend", "log_id", "status": "waiting" | "dead", "attempts", "reason",
                  "created_at", "age", "feedback", "ref"}]}
  outbox retry   {"retried", "not_found", "unreadable"}
  outbox purge   {"purged", "not_found", "under_way"}
What somebody else has written into the store, or damaged, and cannot be read, is a dead letter whose reason says so and
shows it. Retried, it stays one until it can be read.
Exit status: 0 done, 1 where an id was not found, is being delivered just now or cannot be read, 2 wrong arguments or
store."""
RETRY_ORDER: Final = """\
 Each takes its old place among what waits for the same log entry. What has been delivered meanwhile is not known any
more: where a later vote on the same entry has arrived, a retried earlier one replaces it. Retry such letters never, or
record the later vote again."""


def add(commands: Any) -> None:
    """Put `outbox` and its own subcommands among the subcommands."""
    outbox = _arguments.add_command(
        commands,
        "outbox",
        run,
        summary="see and settle what waits in a store, and what failed for good",
        description=DESCRIPTION,
    )
    outbox.set_defaults(work=_overview)
    _arguments.add_store(outbox)
    outbox.add_argument("--json", action="store_true", help="one JSON document, as told above")
    actions = outbox.add_subparsers(metavar="ACTION")

    listed = _action(actions, "list", _list, "show what waits, the oldest first")
    listed.add_argument("--dead", action="store_true", help="show the dead letters instead")
    listed.add_argument(
        "--limit", type=_arguments.limit, default=LIMIT, metavar="N", help="show so many at most (%(default)s)"
    )
    retry = _action(actions, "retry", _retry, "put dead letters back into the outbox", RETRY_ORDER)
    _add_choice(retry)
    purge = _action(actions, "purge", _purge, "forget dead letters; they cannot be had back")
    _add_choice(purge)
    purge.add_argument(
        "--waiting", action="store_true", help="forget what waits instead, and is not under way just now"
    )


def run(chosen: argparse.Namespace) -> int:
    """Do what is chosen; return the exit status."""
    store = shared_store(chosen.store)
    try:
        _refuse_unusable(store)
        work: Callable[[Store, argparse.Namespace], int] = chosen.work
        return work(store, chosen)
    finally:
        store.close()


def shared_store(url: str | None) -> Store:
    """Return the store that is chosen or configured; raise ConfigurationError where other processes cannot see it."""
    store = store_from(url)
    if not store.shared:
        raise ConfigurationError(
            "memory:// is the memory of one process, whose outbox no other can look into: give --store (or set "
            f"{STORE} to) what the application uses, sqlite:///PATH or redis://…"
        )
    return store


def _refuse_unusable(store: Store) -> None:
    """Raise StoreError where there is no outbox to look into, rather than make an empty one where a path is wrong."""
    for finding in store.check():
        if finding.check == "store" and finding.status != "ok":
            raise StoreError("; ".join(filter(None, [finding.found, finding.advice])))


def _overview(store: Store, chosen: argparse.Namespace) -> int:
    depths, now = store.depths(), time.time()
    backends: list[dict[str, Any]] = [
        {
            "backend": depth.backend,
            "waiting": depth.queued,
            "oldest_at": depth.oldest_at,
            "oldest_age": None if depth.oldest_at is None else max(0.0, now - depth.oldest_at),
            "dead": depth.dead,
        }
        for depth in depths
    ]
    totals = {name: sum(each[name] for each in backends) for name in ("waiting", "dead")}
    if chosen.json:
        return _print_json({**totals, "backends": backends})
    if not backends:
        print("nothing waits, and there are no dead letters")
    for each in backends:
        oldest = "" if each["oldest_age"] is None else f" (the oldest for {span(each['oldest_age'])})"
        print(
            f"{printable(each['backend'])}: {each['waiting']} waiting{oldest}, {counted(each['dead'], 'dead letter')}"
        )
    return DONE


def _list(store: Store, chosen: argparse.Namespace) -> int:
    items = [_described(item, dead=chosen.dead) for item in store.listed(dead=chosen.dead, most=chosen.limit)]
    if chosen.json:
        return _print_json({"items": items})
    for each in items:
        print(f"{each['id']}  {printable(each['backend'])} {printable(each['log_id'])}  {each['feedback']}")
        reason = f": {printable(each['reason'])[:SHOWN]}" if each["reason"] else ""
        print(f"    {each['status']} for {span(each['age'])}, {counted(each['attempts'], 'attempt')}{reason}")
    if not items:
        print("there are no dead letters" if chosen.dead else "nothing waits")
    return DONE


def _described(item: Item, *, dead: bool) -> dict[str, Any]:
    return {
        "id": item.id,
        "backend": item.ref.backend,
        "log_id": item.ref.id,
        "status": "dead" if dead else "waiting",
        "attempts": item.attempts,
        "reason": item.reason,
        "created_at": item.created_at,
        "age": max(0.0, time.time() - item.created_at),
        "feedback": briefly(item.feedback) if item.row is None else ROW,
        "ref": item.ref.to_dict(),
    }


def _retry(store: Store, chosen: argparse.Namespace) -> int:
    ids = None if chosen.all else list(dict.fromkeys(chosen.ids))
    not_found = _not_found(store, ids, "failed")
    there = sum(depth.dead for depth in store.depths()) if ids is None else len(ids) - len(not_found)
    retried = store.revive(ids)
    unreadable = max(0, there - retried)
    if chosen.json:
        _print_json({"retried": retried, "not_found": not_found, "unreadable": unreadable})
    else:
        print(f"{counted(retried, 'dead letter')} put back into the outbox")
        if unreadable:
            print(f"{unreadable} cannot be read, and left alone: see `thumbprint outbox list --dead`", file=sys.stderr)
    return _status(not_found, chosen) or (FAILED if unreadable else DONE)


def _purge(store: Store, chosen: argparse.Namespace) -> int:
    fate = "queued" if chosen.waiting else "failed"
    ids = None if chosen.all else list(dict.fromkeys(chosen.ids))
    not_found = _not_found(store, ids, fate)
    purged = store.purge(ids, dead=not chosen.waiting)
    under_way = 0 if ids is None else max(0, len(ids) - len(not_found) - purged)
    if chosen.json:
        _print_json({"purged": purged, "not_found": not_found, "under_way": under_way})
    else:
        print(f"{purged} forgotten")
        if under_way:
            print(f"{under_way} being delivered just now, and left alone", file=sys.stderr)
        if not (purged or chosen.waiting) and (waiting := _waiting(store, ids)):
            print(f"what waits ({waiting}) is no dead letter: to forget it, give --waiting", file=sys.stderr)
    return _status(not_found, chosen) or (FAILED if under_way else DONE)


def _not_found(store: Store, ids: Sequence[str] | None, fate: str) -> list[str]:
    """Return those of the ids that are not there, or not as they should be."""
    if ids is None:
        return []
    fates = store.fates(ids)
    return [name for name in ids if name not in fates or fates[name][0] != fate]


def _waiting(store: Store, ids: Sequence[str] | None) -> int:
    """Return how many of the ids wait, of all there are where none are given."""
    if ids is None:
        return sum(depth.queued for depth in store.depths())
    return sum(fate == "queued" for fate, _ in store.fates(ids).values())


def _status(not_found: Sequence[str], chosen: argparse.Namespace) -> int:
    if not_found and not chosen.json:
        print(f"not found: {', '.join(map(printable, not_found))}", file=sys.stderr)
    return FAILED if not_found else DONE


def _print_json(document: object) -> int:
    print(json.dumps(document))
    return DONE


def _action(
    actions: Any, name: str, work: Callable[[Store, argparse.Namespace], int], help_: str, more: str = ""
) -> argparse.ArgumentParser:
    """Add an action; it takes the options of `outbox` as well, which it leaves as they are where they are not given."""
    action: argparse.ArgumentParser = actions.add_parser(name, help=help_, description=f"{help_.capitalize()}.{more}")
    action.set_defaults(work=work)
    _arguments.add_store(action, default=argparse.SUPPRESS)
    action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="see `thumbprint outbox --help`")
    return action


def _add_choice(action: argparse.ArgumentParser) -> None:
    chosen = action.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "ids",
        nargs="*",
        default=[],
        type=_arguments.item_id,
        metavar="ID",
        help="as `thumbprint outbox list` shows them",
    )
    chosen.add_argument("--all", action="store_true", help="all there are")
