"""Contestants of the delivery: how many pieces of feedback a second arrive at the server?

Each piece is a thumb for another log entry. The queue is filled first; a round's time runs from when delivery is let go
until the last piece was answered. The `end to end` contestants begin with the first call instead, and deliver while
they are still being told. A floor is the loop that somebody would write by hand who has all the feedback in a list.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time
import uuid

PROJECT = "6b1f0c9e-6f5a-4f0e-9f0a-3f0d5f1c2b3a"
ACCOUNT = "0123456789abcdef0123456789abcdef"
GATEWAY = "production"
BATCH = 100
IN_FLIGHT = 4  # batches
CALLS_IN_FLIGHT = 32
LONG = 120.0  # seconds
FEEDBACK = f"/v1/project_logs/{PROJECT}/feedback"
LOGS = f"/accounts/{ACCOUNT}/ai-gateway/gateways/{GATEWAY}/logs"
BEARER = {"authorization": "Bearer key"}


def names(count):
    return [str(uuid.uuid4()) for _ in range(count)]


class Timed:
    """A contestant whose rounds are timed as a whole: `deliver(ids)` returns how many seconds it took."""

    delivers = True

    def __init__(self, url):
        self.url = url

    def round(self, count):
        return {"rate": count / self.deliver(names(count))}

    def close(self):
        pass


class Ours(Timed):
    """thumbprint with a memory store; its delivery is held back until the queue is full."""

    def __init__(self, url):
        import thumbprint  # noqa: PLC0415 - every contestant imports its own

        super().__init__(url)
        self.thumbprint = thumbprint.Thumbprint(backends=[self.backend(thumbprint, url)], delivery="background")
        self.log_ref = thumbprint.LogRef

    def deliver(self, ids):
        refs = [self.ref(name) for name in ids]
        worker, self.thumbprint._worker = self.thumbprint._worker, NotYet()
        for ref in refs:
            self.thumbprint.record_feedback(ref, thumbs="up")
        self.thumbprint._worker = worker
        began = time.perf_counter()
        worker.wake()
        self.await_all(len(ids))
        return time.perf_counter() - began

    def await_all(self, count):
        result = self.thumbprint.flush(LONG)
        if result.delivered != count:
            raise RuntimeError(f"not everything was delivered: {result}")

    def close(self):
        self.thumbprint.close()


class NotYet:
    """In the place of a worker: does not wake up."""

    def wake(self, _):
        pass


class OursToBraintrust(Ours):
    label = "thumbprint"

    def backend(self, thumbprint, url):
        return thumbprint.Braintrust(api_key="key", api_url=url)

    def ref(self, name):
        return self.log_ref(backend="braintrust", id=name, project_id=PROJECT)


class OursToBraintrustEndToEnd(OursToBraintrust):
    label = "thumbprint, end to end"

    def deliver(self, ids):
        refs = [self.ref(name) for name in ids]
        began = time.perf_counter()
        for ref in refs:
            self.thumbprint.record_feedback(ref, thumbs="up")
        self.await_all(len(ids))
        return time.perf_counter() - began


class OursToCloudflare(Ours):
    label = "thumbprint"

    def backend(self, thumbprint, url):
        return thumbprint.Cloudflare(api_token="key", base_url=url, account_id=ACCOUNT, gateway_id=GATEWAY, pace=None)

    def ref(self, name):
        return self.log_ref(backend="cloudflare", id=name, account_id=ACCOUNT, gateway_id=GATEWAY)


class Loop(Timed):
    """Batches of 100, one after the other, on one kept-alive connection."""

    label = "httpx.Client, batches of 100"

    def __init__(self, url):
        import httpx  # noqa: PLC0415 - as above

        super().__init__(url)
        self.client = httpx.Client(base_url=url, headers=BEARER, timeout=30)

    def deliver(self, ids):
        began = time.perf_counter()
        for start in range(0, len(ids), BATCH):
            self.send(self.client, ids[start : start + BATCH])
        return time.perf_counter() - began

    def send(self, client, ids):
        feedback = [{"id": name, "scores": {"thumbs": 1}} for name in ids]
        answer = client.post(FEEDBACK, json={"feedback": feedback})
        answer.raise_for_status()
        if answer.json()["status"] != "success":
            raise RuntimeError(answer.text)


class LoopInFlight(Loop):
    """The same, four batches at a time, each thread with a connection of its own."""

    label = "httpx.Client, 4 batches in flight"

    def __init__(self, url):
        import httpx  # noqa: PLC0415 - as above

        super().__init__(url)
        self.clients = [httpx.Client(base_url=url, headers=BEARER, timeout=30) for _ in range(IN_FLIGHT)]
        self.pool = concurrent.futures.ThreadPoolExecutor(IN_FLIGHT)

    def deliver(self, ids):
        began = time.perf_counter()
        list(self.pool.map(self.send_some, self.clients, [ids[part::IN_FLIGHT] for part in range(IN_FLIGHT)]))
        return time.perf_counter() - began

    def send_some(self, client, ids):
        for start in range(0, len(ids), BATCH):
            self.send(client, ids[start : start + BATCH])


class BraintrustSdkEndToEnd(Timed):
    """Braintrust's SDK: `log_feedback` for each, then `flush`."""

    label = "braintrust, end to end"

    def __init__(self, url):
        os.environ["BRAINTRUST_APP_URL"] = url
        os.environ["BRAINTRUST_API_KEY"] = "key"
        import braintrust  # noqa: PLC0415 - as above

        super().__init__(url)
        self.braintrust = braintrust
        braintrust.login()
        self.logger = braintrust.init_logger(project="benchmark", project_id=PROJECT)

    def deliver(self, ids):
        began = time.perf_counter()
        self.say(ids)
        self.braintrust.flush()
        return time.perf_counter() - began

    def say(self, ids):
        for name in ids:
            self.logger.log_feedback(id=name, scores={"thumbs": 1})


class BraintrustSdk(BraintrustSdkEndToEnd):
    """The same with its own setting that has only `flush` deliver."""

    label = "braintrust"

    def __init__(self, url):
        os.environ["BRAINTRUST_SYNC_FLUSH"] = "1"
        super().__init__(url)

    def deliver(self, ids):
        self.say(ids)
        began = time.perf_counter()
        self.braintrust.flush()
        return time.perf_counter() - began


class PatchLoop(Timed):
    """One PATCH after the other on one kept-alive connection."""

    label = "httpx.Client in a loop"

    def __init__(self, url):
        import httpx  # noqa: PLC0415 - as above

        super().__init__(url)
        self.client = httpx.Client(base_url=url, headers=BEARER, timeout=30)

    def deliver(self, ids):
        began = time.perf_counter()
        for name in ids:
            check(self.client.patch(f"{LOGS}/{name}", json={"feedback": 1}))
        return time.perf_counter() - began


class PatchInFlight(Timed):
    """An httpx.AsyncClient with 32 requests in flight."""

    label = "httpx.AsyncClient, 32 in flight"

    def __init__(self, url):
        import httpx  # noqa: PLC0415 - as above

        super().__init__(url)
        self.loop = asyncio.new_event_loop()
        limits = httpx.Limits(max_connections=CALLS_IN_FLIGHT, max_keepalive_connections=CALLS_IN_FLIGHT)
        self.client = httpx.AsyncClient(base_url=url, headers=BEARER, timeout=30, limits=limits)

    def deliver(self, ids):
        began = time.perf_counter()
        self.loop.run_until_complete(self.deliver_all(iter(ids)))
        return time.perf_counter() - began

    async def deliver_all(self, ids):
        await asyncio.gather(*(self.deliver_some(ids) for _ in range(CALLS_IN_FLIGHT)))

    async def deliver_some(self, ids):
        for name in ids:
            await self.send(name)

    async def send(self, name):
        check(await self.client.patch(f"{LOGS}/{name}", json={"feedback": 1}))


class CloudflareSdk(PatchInFlight):
    """Cloudflare's own SDK, asynchronous, with 32 requests in flight."""

    label = "cloudflare, 32 in flight"

    def __init__(self, url):
        from cloudflare import AsyncCloudflare  # noqa: PLC0415 - as above

        super().__init__(url)
        self.sdk = AsyncCloudflare(api_token="key", base_url=url)

    async def send(self, name):
        await self.sdk.ai_gateway.logs.edit(name, account_id=ACCOUNT, gateway_id=GATEWAY, feedback=1)


def check(answer):
    answer.raise_for_status()
    if not answer.json()["success"]:
        raise RuntimeError(answer.text)
