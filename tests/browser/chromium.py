"""A headless Chromium, spoken to over a pipe: what a page says, how wide it is, how it looks."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 60.0
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

TOO_WIDE = """(() => {
  const wide = document.documentElement.clientWidth + 0.5;
  const found = [...document.body.querySelectorAll('*')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > wide || box.left < -0.5);
  });
  const cut = [...document.body.querySelectorAll('*')].filter(
    e => !(e instanceof SVGElement) && e.scrollWidth > e.clientWidth + 1
      && getComputedStyle(e).overflowX !== 'visible');
  return {
    page: document.documentElement.scrollWidth,
    view: document.documentElement.clientWidth,
    outside: [...found, ...cut].map(e => `${e.tagName} ${e.textContent.slice(0, 40)}`),
  };
})()"""
"""The width of the page, and every element that sticks out of it or whose content is cut."""


def find_chromium() -> str | None:
    """Return the path of the browser, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """An open page: its console messages and failed loads so far, and a way to ask it."""

    browser: Browser
    session: str
    messages: list[str]

    def ask(self, script: str) -> Any:
        """Return the value of a script in the page."""
        answer = self.browser.call(
            "Runtime.evaluate", {"expression": script, "returnByValue": True}, self.session
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Return what is seen as PNG, or the whole page."""
        answer = self.browser.call(
            "Page.captureScreenshot",
            {"format": "png", "captureBeyondViewport": whole},
            self.session,
        )
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page on paper."""
        answer = self.browser.call("Page.printToPDF", {"preferCSSPageSize": True}, self.session)
        return base64.b64decode(answer["data"])


class Browser:
    """Speaks the DevTools protocol over two pipes: JSON, a null byte after each message."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._number = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []

    def call(
        self, method: str, values: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Return the answer to a command; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values or {}}
        if session:
            message["sessionId"] = session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Wait until an event has come."""
        while not any(e.get("method") == method and e.get("sessionId") == session
                      for e in self._events):  # fmt: skip
            self._events.append(self._next())

    def said(self, session: str) -> list[str]:
        """Return console messages, exceptions, log entries and failed loads of a page."""
        methods = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded",
                   "Network.loadingFailed")  # fmt: skip
        return [
            json.dumps(event["params"])[:300]
            for event in self._events
            if event.get("sessionId") == session and event.get("method") in methods
        ]

    def requests(self, session: str) -> list[str]:
        """Return the addresses that a page has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._events
            if event.get("sessionId") == session
            and event.get("method") == "Network.requestWillBeSent"
        ]

    @contextmanager
    def visit(
        self, page: Path, *, width: int, height: int = 900, dark: bool = False, scale: float = 1
    ) -> Iterator[Visit]:
        """Open a file in a view of the given size."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", {}, session)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500},
            session,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
        self.call("Page.navigate", {"url": page.absolute().as_uri()}, session)
        self.wait_for("Page.loadEventFired", session)
        visit = Visit(self, session, [])
        visit.ask("document.fonts.ready.then(() => 0); 0")
        visit.messages = self.said(session)
        yield visit
        self.call("Target.closeTarget", {"targetId": target})

    def _next(self) -> dict[str, Any]:
        end = monotonic() + _PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, end - monotonic()))
            assert ready, f"the browser said nothing for {_PATIENCE_S:.0f} s"
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser has closed"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def chromium(path: str, folder: Path) -> Iterator[Browser]:
    """Start a browser whose profile and messages are in ``folder``, and end it afterwards."""
    there_read, send = os.pipe()
    receive, there_write = os.pipe()
    high = [fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (there_read, there_write)]

    def attach() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with open(folder / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            [path, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=(3, 4), preexec_fn=attach, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    for pipe in (there_read, there_write, *high):
        os.close(pipe)
    browser = Browser(send, receive)
    try:
        yield browser
        browser.call("Browser.close")
    finally:
        os.close(send)
        os.close(receive)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
