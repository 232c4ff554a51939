"""The fixed, obviously fake credentials of the emulator, and its makers of fresh ids."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid

ACCOUNT_ID = "e" * 28 + "0001"
GATEWAY_ID = "emulator"
CLOUDFLARE_TOKEN = "emulator-cloudflare-token"  # noqa: S105 - fake on purpose
BRAINTRUST_KEY = "emulator-braintrust-key"
OPENAI_KEY = "emulator-openai-key"
ORGANIZATION_NAME = "emulator"
ORGANIZATION_ID = "e0000000-0000-4000-8000-000000000002"
PROJECT_NAME = "emulator"
PROJECT_ID = "e0000000-0000-4000-8000-000000000001"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(seconds: float) -> str:
    """Return a new ULID: 48 bits of milliseconds, then 80 random bits, as 26 characters of base 32."""
    value = (int(seconds * 1000) & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def new_uuid() -> str:
    """Return a random UUID in the usual spelling."""
    return str(uuid.uuid4())


def parse_uuid(text: str) -> str | None:
    """Return a dashed UUID in lower case, or None where the text is none."""
    try:
        found = str(uuid.UUID(text))
    except ValueError:
        return None
    return found if found == text.lower() else None


def token(prefix: str) -> str:
    """Return a fresh id such as OpenAI gives: `prefix` and 24 hex digits."""
    return f"{prefix}{secrets.token_hex(12)}"


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC with milliseconds."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> float | None:
    """Return ISO 8601 as seconds since the epoch (UTC where no zone is named), or None."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
