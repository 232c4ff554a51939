"""What a feedback token grants ⇄ the signed string that a browser holds. Pure: no clock, no environment, no I/O.

    tp1.PAYLOAD.SIGNATURE

Both parts are base64url without padding. The signature is HMAC-SHA256 over all that stands before it, as it stands, and
nothing of the payload is read before it is verified. The payload is packed, for it travels in headers and links:

    number      seven bits a byte, the lowest first; the eighth tells that more follow
    text        a number, size · 4 + kind, and so many bytes of UTF-8 or of the hex digits that the text consists of;
                or the place of the text in a list of those that are common
    payload     number: bits of the allowed fields, "all calls of the scope", "names a scope"
                number: the second since 1970 at which the token expires
                text: the scope's id; or for each LogRef its texts, and the second of its capture as a number

What a LogRef says of its home just as the configuration does is left out, and put back from there. What changes in any
of this, but for new names at the end of `FIELDS`, takes a new version.
"""

from __future__ import annotations

import base64
import hmac
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, length_hint
from typing import TYPE_CHECKING, Any, Final

from ._model import LogRef, Which
from .errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MalformedTokenError,
    TokenExpiredError,
    TokenFieldError,
    TokenSignatureError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "tp1."
MAX_LENGTH: Final = 4096  # characters, of which each is a byte
LIFETIME: Final = 7 * 86400.0  # seconds
MAX_LIFETIME: Final = 3650 * 86400.0  # seconds
ALLOWED: Final = ("thumbs", "score", "comment")
FIELDS: Final = (*ALLOWED, "scores", "expected", "tags", "metadata")
MAX_FIELDS: Final = 7  # that there are bits for

Homes = Mapping[str, Mapping[str, str]]
"""Backend → what its configuration knows of where log entries are, by the names that a LogRef has for it."""

_ALL_CALLS: Final = 1 << MAX_FIELDS
_OF_SCOPE: Final = 2 << MAX_FIELDS
_UNKNOWN_FLAGS: Final = 4 << MAX_FIELDS
_MAX_NUMBER_BYTES: Final = 6
_TOO_LATE: Final = 1 << 7 * _MAX_NUMBER_BYTES
_PURPOSE: Final = b"thumbprint feedback token"
_LOOK: Final = re.compile(r"tp([0-9]{1,9})\.")
_FORM: Final = re.compile(rf"({re.escape(PREFIX)}([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]+)")

_HOME: Final = ("account_id", "gateway_id", "project_id", "project_name", "experiment_id")
_NAMES: Final = ("backend", "id", "operation", *_HOME, "response_id", "trace_id", "span_id")
_texts_of: Final = attrgetter(*_NAMES)

_COMMON, _TEXT, _HEX, _UUID = range(4)  # the kinds of texts
_HEX_DIGITS: Final = re.compile(r"(?:[0-9a-f]{2})+")
_UUID_DIGITS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _AsConfigured:
    """The type of `_CONFIGURED`, which stands for what the configuration says as well."""


_CONFIGURED: Final = _AsConfigured()
_COMMON_TEXTS: Final = (
    None,
    _CONFIGURED,
    "cloudflare",
    "braintrust",
    "chat",
    "text_completion",
    "embeddings",
    "generate_content",
    "invoke_agent",
    "image_generation",
    "video_generation",
    "speech",
    "transcription",
    "translation",
    "moderation",
)
_PLACES: Final[Mapping[Any, int]] = {text: place for place, text in enumerate(_COMMON_TEXTS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token allows: to say so many fields of feedback, until a time, about log entries or the calls of a scope.

    It has `refs`, or, where they were not known yet, a `scope_id` and `which` of its calls are meant. `expires_at` is
    in whole seconds since 1970, `allow` some of `FIELDS`, in their order.
    """

    allow: tuple[str, ...]
    expires_at: int
    refs: tuple[LogRef, ...] = ()
    scope_id: str | None = None
    which: Which = "last"

    def check(self, said: Iterable[str]) -> None:
        """Raise TokenFieldError for a field that is not allowed; `scores.NAME` is of the field `scores`."""
        for field in sorted({name.partition(".")[0] for name in said}, key=FIELDS.index):
            if field not in self.allow:
                raise TokenFieldError(
                    f"the token allows {', '.join(self.allow)}, and not {field}: whoever issues it says what it allows",
                    field=field,
                    allowed=self.allow,
                )


class Keys:
    """The keys that secrets give: the first signs, all verify. No repr shows them."""

    __slots__ = ("_keys",)

    def __init__(self, secrets: Iterable[str]) -> None:
        # Keys of our own, so that what signs something else with the same secret makes no tokens.
        self._keys = tuple(
            hmac.digest(secret.encode("utf-8", "surrogatepass"), _PURPOSE, "sha256") for secret in secrets
        )

    def __len__(self) -> int:
        return len(self._keys)

    def signature(self, text: str) -> str:
        """Return the first key's signature of an ASCII text."""
        return _signature(self._keys[0], text)

    def signed(self, text: str, signature: str) -> bool:
        """Whether any of the keys signed the text; both are ASCII, and compared in constant time."""
        return any(hmac.compare_digest(_signature(key, text), signature) for key in self._keys)

    def __repr__(self) -> str:
        return f"<Keys: {len(self)}>"


def terms(allow: Iterable[str], expires_in: float, now: float) -> tuple[tuple[str, ...], int]:
    """Return the allowed fields in their order, and when a token that is issued now expires.

    Raises ArgumentValueError or ArgumentTypeError, naming the argument, for what cannot be meant.
    """
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise ArgumentTypeError(
            f"expires_in={expires_in!a:.80} is of type {type(expires_in).__name__}: it takes seconds",
            argument="expires_in",
        )
    if not 0 < expires_in <= MAX_LIFETIME:  # NaN is not, either
        raise ArgumentValueError(
            f"expires_in={expires_in!a:.80}: give seconds, more than 0 and at most {MAX_LIFETIME:.0f} (3,650 days)",
            argument="expires_in",
        )
    return _allowed(allow), math.ceil(now + expires_in)


def _allowed(allow: Iterable[str]) -> tuple[str, ...]:
    if isinstance(allow, (str, bytes, Mapping)) or not isinstance(allow, Iterable):
        raise ArgumentTypeError(
            f"allow={allow!a:.80} is of type {type(allow).__name__}: it takes a list of {', '.join(FIELDS)}",
            argument="allow",
        )
    names = tuple(islice(allow, MAX_LENGTH))
    for name in names:
        if name not in FIELDS:
            raise ArgumentValueError(
                f"allow has {name!a:.80}, which is no field of feedback: give some of {', '.join(FIELDS)}",
                argument="allow",
            )
    if not names:
        raise ArgumentValueError(f"allow is empty: give some of {', '.join(FIELDS)}", argument="allow")
    return tuple(field for field in FIELDS if field in names)


def is_token(text: str) -> bool:
    """Whether the text begins as tokens of any version do, and so is meant to be one."""
    return _LOOK.match(text) is not None


def holds_token(text: str) -> bool:
    """Whether a whole token stands somewhere in the text."""
    return _FORM.search(text) is not None


def issue(grant: Grant, keys: Keys, homes: Homes) -> str:
    """Return the token; raise ArgumentValueError where it would be longer than 4 KiB."""
    payload = base64.urlsafe_b64encode(_packed(grant, homes)).rstrip(b"=").decode("ascii")
    text = f"{PREFIX}{payload}"
    token = f"{text}.{keys.signature(text)}"
    if len(token) > MAX_LENGTH:
        subject = "this scope's id" if grant.scope_id else f"{len(grant.refs)} log entries"
        raise ArgumentValueError(
            f"a token for {subject} would have {len(token)} characters: at most {MAX_LENGTH} are issued",
            argument="target",
        )
    return token


def read(token: str, keys: Keys, homes: Homes, *, now: float) -> Grant:
    """Return what the token grants at a time in seconds since 1970.

    Raises MalformedTokenError for what is no token of this version, TokenSignatureError where none of the keys signed
    it as it is, and TokenExpiredError. No message shows the token.
    """
    text, payload, signature = _parts(token)
    if not keys.signed(text, signature):
        raise TokenSignatureError(
            "the token's signature is wrong: the token was changed on its way, or signed with a secret that is not "
            "among those of THUMBPRINT_SECRET"
        )
    try:
        grant = _unpacked(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), homes)
    except (ValueError, TypeError, LookupError):
        raise MalformedTokenError("the token is signed, but cannot be read: another thumbprint issued it") from None
    if now >= grant.expires_at:
        raise TokenExpiredError(
            f"the token expired {now - grant.expires_at:.0f} seconds ago: have a new one issued",
            expired_at=float(grant.expires_at),
        )
    return grant


def _parts(token: str) -> tuple[str, str, str]:
    """Return the text that is signed, the payload in it, and the signature."""
    if len(token) > MAX_LENGTH:
        raise MalformedTokenError(f"a token has at most {MAX_LENGTH} characters, this has {len(token)}")
    form = _FORM.fullmatch(token)
    if form is not None:
        return form[1], form[2], form[3]
    version = _LOOK.match(token)
    if version is not None and token[: version.end()] != PREFIX:
        raise MalformedTokenError(
            f"the token is of version {version[1]}, this thumbprint reads version {PREFIX[2:-1]}: is it an older one?"
        )
    raise MalformedTokenError(f"this is no token: one has the form {PREFIX}PAYLOAD.SIGNATURE; was it cut off?")


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("ascii"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _packed(grant: Grant, homes: Homes) -> bytes:
    flags = sum(1 << FIELDS.index(field) for field in grant.allow)
    flags |= _ALL_CALLS if grant.which == "all" else 0
    flags |= _OF_SCOPE if grant.scope_id is not None else 0
    parts = bytearray()
    _pack_number(parts, flags)
    _pack_number(parts, grant.expires_at)
    if grant.scope_id is not None:
        _pack_text(parts, grant.scope_id)
    for ref in grant.refs:
        _pack_ref(parts, ref, homes.get(ref.backend, {}))
    return bytes(parts)


def _unpacked(data: bytes, homes: Homes) -> Grant:
    rest = iter(data)
    flags, expires_at = _number(rest), _number(rest)
    if flags >= _UNKNOWN_FLAGS:
        raise ValueError("it says what this version does not know")
    allow = tuple(field for bit, field in enumerate(FIELDS) if flags >> bit & 1)
    which: Which = "all" if flags & _ALL_CALLS else "last"
    if flags & _OF_SCOPE:
        return Grant(allow=allow, expires_at=expires_at, scope_id=_scope_id(rest), which=which)
    refs = []
    while length_hint(rest):
        refs.append(_ref(rest, homes))
    if not refs:
        raise ValueError("it names nothing")
    return Grant(allow=allow, expires_at=expires_at, refs=tuple(refs), which=which)


def _scope_id(rest: Iterator[int]) -> str:
    found = _text(rest)
    if not isinstance(found, str) or length_hint(rest):
        raise ValueError("it does not name one scope")
    return found


def _pack_ref(parts: bytearray, ref: LogRef, home: Mapping[str, str]) -> None:
    for name, text in zip(_NAMES, _texts_of(ref), strict=True):
        _pack_text(parts, _CONFIGURED if text is not None and name in _HOME and home.get(name) == text else text)
    _pack_number(parts, int(ref.captured_at) if 0 <= ref.captured_at < _TOO_LATE else 0)


def _ref(rest: Iterator[int], homes: Homes) -> LogRef:
    texts = {name: _text(rest) for name in _NAMES}
    home = homes.get(texts["backend"], {})
    texts |= {name: home.get(name) for name in _HOME if texts[name] is _CONFIGURED}
    return LogRef(**texts, captured_at=float(_number(rest)))


def _pack_text(parts: bytearray, text: str | _AsConfigured | None) -> None:
    place = _PLACES.get(text)
    if place is not None:
        _pack_number(parts, place << 2 | _COMMON)
        return
    assert isinstance(text, str)
    kind, data = _data_of(text)
    _pack_number(parts, len(data) << 2 | kind)
    parts += data


def _data_of(text: str) -> tuple[int, bytes]:
    if _HEX_DIGITS.fullmatch(text):
        return _HEX, bytes.fromhex(text)
    if _UUID_DIGITS.fullmatch(text):
        return _UUID, bytes.fromhex(text.replace("-", ""))
    return _TEXT, text.encode("utf-8", "surrogatepass")


def _text(rest: Iterator[int]) -> Any:
    head = _number(rest)
    size, kind = head >> 2, head & 3
    if kind == _COMMON:
        return _COMMON_TEXTS[size]
    data = bytes(islice(rest, size))
    if len(data) < size:
        raise ValueError("it ends too early")
    if kind == _TEXT:
        return data.decode("utf-8", "surrogatepass")
    digits = data.hex()
    if kind == _HEX:
        return digits
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _pack_number(parts: bytearray, number: int) -> None:
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)


def _number(rest: Iterator[int]) -> int:
    number = 0
    for shift in range(0, 7 * _MAX_NUMBER_BYTES, 7):
        byte = next(rest, 0x80)
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number
    raise ValueError("it has no such number")
