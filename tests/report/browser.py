"""Headless Chromium over the DevTools protocol: what a page shows, asks for and complains of."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60.0  # seconds until the browser has to be there, or to answer


def executable() -> str | None:
    """The installed browser; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab: commands are answered in turn; what happens meanwhile is kept in `events`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._count = 0
        self.session = ""  # of the tab; the browser itself before there is one
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=_PATIENCE))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, path: Path, width: int = 1200, **features: str) -> None:
        """Load a file at a width in pixels; `features` such as scheme="dark"."""
        self.events.clear()
        media = [{"name": f"prefers-color-{k}", "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=media)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method: str) -> None:
        """Until an event has come."""
        end = time.monotonic() + _PATIENCE
        while not any(event.get("method") == method for event in self.events):
            assert time.monotonic() < end, f"no {method}"
            self.events.append(json.loads(self._connection.recv(timeout=_PATIENCE)))

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; the page's own policy does not bind it."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of the events of these names."""
        return [e["params"] for e in self.events if e.get("method") in methods]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, or of what is seen of it at first."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])


@contextmanager
def browser(binary: str) -> Iterator[Page]:
    """A browser with one tab, which is gone afterwards, profile and all."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += ["--no-first-run", "--disable-background-networking", "--disable-extensions"]
        command = [binary, *options, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "HOME": profile}
        process = subprocess.Popen([*command, "about:blank"], **quiet, env=environment)  # type: ignore[call-overload]
        try:
            address = _address(Path(profile) / "DevToolsActivePort")
            with connect(address, max_size=None) as connection:
                yield _tab(connection)
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE)


def _address(port_file: Path) -> str:
    """Where the browser listens, which it writes once it does."""
    end = time.monotonic() + _PATIENCE
    while not (port_file.is_file() and port_file.read_text().count("\n")):
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.1)
    port, path = port_file.read_text().split("\n")[:2]
    return f"ws://127.0.0.1:{port}{path}"


def _tab(connection: ClientConnection) -> Page:
    page = Page(connection)
    target = page.call("Target.createTarget", url="about:blank")["targetId"]
    page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
        page.call(f"{domain}.enable")
    return page
