"""A real, headless Chromium: Debian's, driven by playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")


def find_chromium():
    """Return the path of a Chromium; one is installed where this process may. Without one the test is skipped."""
    if shutil.which("chromium") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        for command in (("apt-get", "update"), INSTALL):
            subprocess.run(command, check=False, timeout=600, **quiet)
    return shutil.which("chromium") or pytest.skip("no chromium here (Debian: apt-get install chromium)")


@contextlib.contextmanager
def opened(folder):
    """Run the browser with a fresh profile in the folder."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only the tests of a browser wait for it

    chromium = find_chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=chromium, headless=True, args=FLAGS
        )
        context.set_default_timeout(15_000)
        yield context
        context.close()


@contextlib.contextmanager
def watched(context):
    """Open a page; afterwards, nothing may have gone wrong in it and nothing may have come from elsewhere."""
    page = context.new_page()
    faults, hosts = [], set()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url[:4] == "http" else None)
    yield page
    page.close()
    assert faults == []
    assert {host.rpartition(":")[0] for host in hosts} <= {"127.0.0.1"}
