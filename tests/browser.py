"""A real, headless Chromium: Debian's, driven by playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

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
        _install_chromium()
    return shutil.which("chromium") or pytest.skip("no chromium here (Debian: apt-get install chromium)")


def _install_chromium():
    """Have apt-get install it, unless another process of the suite has, or does: apt-get refuses to run twice."""
    import fcntl  # noqa: PLC0415 - not every system has it, but each that has apt-get

    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    with (Path(tempfile.gettempdir()) / "thumbprint-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which("chromium") is None:
            for command in (("apt-get", "update"), INSTALL):
                subprocess.run(command, check=False, timeout=600, **quiet)


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


def faint_texts(page):
    """Return the visible texts that contrast too little with the ground that they stand on (WCAG 2.2, 1.4.3)."""
    return page.evaluate(CONTRASTS)


def fits(page):
    """Whether nobody has to scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def shoot(page, name):
    """Keep a screenshot where somebody wants to look at them."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


CONTRASTS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (it) => {
    const own = getComputedStyle(it).backgroundColor;
    return /, 0\\)$/.test(own) ? ground(it.parentElement) : own;
  };
  const faint = [];
  for (const it of document.querySelectorAll("body *")) {
    const spoken = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!spoken || !it.checkVisibility() || it.closest(".away")) continue;
    const [a, b] = [light(rgb(getComputedStyle(it).color)), light(rgb(ground(it)))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${it.textContent.trim()}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return faint;
}"""
