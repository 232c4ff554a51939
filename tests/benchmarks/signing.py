"""Contestants that sign a payload for a browser, and verify it: how long does one of each take?

All carry the same log reference. A round times each call by itself; each token differs from the one before.
"""

from __future__ import annotations

import dataclasses

from rounds import timed

SECRET = "a-secret-that-is-long-enough"
ACCOUNT = "0123456789abcdef0123456789abcdef"


class Ours:
    """`thumbprint.token_for` with a LogRef."""

    label = "thumbprint, issue"
    delivers = False

    def __init__(self, url):
        from thumbprint import Cloudflare, LogRef, Thumbprint  # noqa: PLC0415 - every contestant imports its own

        self.backend = Cloudflare(api_token="t", account_id=ACCOUNT, gateway_id="production", base_url=url)
        self.thumbprint = Thumbprint(backends=[self.backend], store="memory://", secret=SECRET)
        self.ref = LogRef(
            backend="cloudflare",
            id="01JADMCQQQBWH3NXZ5GCRN98DP",
            operation="chat",
            account_id=ACCOUNT,
            gateway_id="production",
            response_id="chatcmpl-BabcdefghijklmnopqrstuvwxyZ01",
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
            captured_at=1764000000.0,
        )

    def refs(self, count):
        return [dataclasses.replace(self.ref, captured_at=float(number)) for number in range(count)]

    def round(self, count):
        return timed(self.thumbprint.token_for, self.refs(count))

    def close(self):
        self.thumbprint.close(0)


class OursVerified(Ours):
    """What `record_feedback` does with a token before it knows the log entries."""

    label = "thumbprint, verify"

    def round(self, count):
        return timed(self.thumbprint.granted, [self.thumbprint.token_for(ref) for ref in self.refs(count)])


class Itsdangerous(Ours):
    """itsdangerous' `URLSafeTimedSerializer` with the same as a dict, and SHA-256 as the digest."""

    label = "itsdangerous, dumps"

    def __init__(self, url):
        import hashlib  # noqa: PLC0415 - as above

        from itsdangerous import URLSafeTimedSerializer  # noqa: PLC0415 - as above

        super().__init__(url)
        self.serializer = URLSafeTimedSerializer(SECRET, signer_kwargs={"digest_method": hashlib.sha256})

    def payloads(self, count):
        return [{"refs": [ref.to_dict()], "allow": ["thumbs", "score", "comment"]} for ref in self.refs(count)]

    def round(self, count):
        return timed(self.serializer.dumps, self.payloads(count))


class ItsdangerousVerified(Itsdangerous):
    label = "itsdangerous, loads"

    def round(self, count):
        tokens = [self.serializer.dumps(payload) for payload in self.payloads(count)]
        return timed(lambda token: self.serializer.loads(token, max_age=7 * 86400), tokens)
