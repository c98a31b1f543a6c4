"""Headless Chromium, driven over the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.browser import Browser
from harness.patience import eventually
from harness.requirements import require_module, require_program

#: A parameter that websockets 16, which Python 3.10 has, does not know.
LEGACY: dict[str, Any] = {"legacy": True} if sys.version_info >= (3, 11) else {}

FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
)
# Windows' codes of keys without a letter, which Blink needs to act on them.
KEY_CODES = {
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Tab": 9,
}


class DevToolsError(Exception):
    """The browser has refused a command: the command, and the error."""


class Chromium:
    """One page of a browser with a profile in `directory`, and further flags. `end` closes it."""

    def __init__(self, directory: Path, url: str, *flags: str) -> None:
        require_module("websockets")
        from websockets.sync.client import connect

        program = require_program("chromium", package="chromium")
        profile = directory / "profile"
        self.log = (directory / "chromium.log").open("wb")
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [program, *FLAGS, *flags, *root, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "HOME": str(directory)},
            start_new_session=True,
        )
        self.numbers = itertools.count(1)
        try:
            page = self._page(profile / "DevToolsActivePort")
            self.socket = connect(page, max_size=None, **LEGACY)
            self.open(url)
        except BaseException:
            self.end()
            raise

    def _page(self, port_file: Path) -> str:
        def port() -> str | None:
            assert self.process.poll() is None, "chromium has ended"
            lines = port_file.read_text().splitlines() if port_file.exists() else []
            return lines[0] if len(lines) > 1 else None

        browser = Browser(f"http://127.0.0.1:{eventually(port, within=30, what='DevTools')}")

        def found() -> str | None:
            pages = browser.open("/json/list").json()
            urls = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
            return urls[0] if urls else None

        return str(eventually(found, within=30, what="a page"))

    def open(self, url: str) -> None:
        self.evaluate("window.isLeft = true")
        self._call("Page.navigate", url=url)
        self._wait_until_loaded(f"location.href == {json.dumps(url)}")

    def submit(self, form: str, **values: str) -> None:
        """Sends the form of this selector, and waits for the page that follows.

        A navigation that begins earlier cancels it, and the cookies of its response are lost.
        """
        self.evaluate(
            f"const form = document.querySelector({json.dumps(form)});"
            f"for (const [name, value] of Object.entries({json.dumps(values)}))"
            "    form.elements[name].value = value;"
            "window.isLeft = true;"
            "form.submit()"
        )
        self._wait_until_loaded("true")

    def _wait_until_loaded(self, condition: str) -> None:
        """Waits for another document than the one that was marked as left."""
        is_loaded = f"!window.isLeft && {condition} && document.readyState == 'complete'"

        def state() -> Any:
            try:
                return self.evaluate(is_loaded)
            except DevToolsError:
                return False  # the document was replaced meanwhile

        eventually(state, within=30, what="the page is loaded")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def resize(self, width: int, height: int) -> None:
        """The size of the page, in CSS pixels, without a scroll bar of its own."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=True,
        )

    def prefer(self, scheme: str) -> None:
        """What `prefers-color-scheme` is from now on: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def bypass_policies(self, is_bypassed: bool) -> None:
        """Whether documents that are opened from now on have no content security policy."""
        self._call("Page.setBypassCSP", enabled=is_bypassed)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key, named as in KeyboardEvent.key, in the element that has the focus."""
        code = KEY_CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def drag(self, selector: str, begin: float, end: float) -> None:
        """Drags the mouse over an element, between two parts of its width."""
        box = self.evaluate(
            f"var dragged = document.querySelector({json.dumps(selector)});"
            "dragged.scrollIntoView({block: 'center'});"
            "dragged.getBoundingClientRect().toJSON()"
        )
        y = box["y"] + box["height"] / 2
        points = [box["x"] + box["width"] * part for part in (begin, (begin + end) / 2, end)]
        button = {"y": y, "button": "left", "clickCount": 1}
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=points[0], y=y)
        self._call("Input.dispatchMouseEvent", type="mousePressed", x=points[0], **button)
        for x in points[1:]:
            self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, buttons=1, **button)
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=points[2], **button)

    def click(self, selector: str) -> None:
        """Clicks into the middle of an element, as a user does."""
        self.drag(selector, 0.5, 0.5)

    def at_each_document(self, script: str) -> None:
        """Runs a script before any other in each document from now on."""
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of the page; that of a promise when it is kept."""
        result = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def accept_encodings(self, *codings: str) -> None:
        """The codings of Accept-Encoding from now on."""
        self._call("Network.enable")
        headers = {"Accept-Encoding": ", ".join(codings)}
        self._call("Network.setExtraHTTPHeaders", headers=headers)

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=30))).get("id") != number:
            pass
        if "error" in answer:
            raise DevToolsError(method, answer["error"])
        return answer["result"]

    def end(self) -> None:
        if hasattr(self, "socket"):
            self.socket.close()
        # Its helper processes are in its session.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
