"""A headless Chromium, driven through its pipe of DevTools messages, as the tests of pages need."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Chromium reads from file 3 and writes to 4. Numbers from 10 on are nobody's yet.
_AT_THREE_AND_FOUR = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
os.dup2(ours[0], 3)
os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium():
    """The browser's path, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One page at a time. messages: what the page said on its console, and its exceptions.

    requests: URLs that the page asked for, itself included. It is told that there is no network.
    """

    def __init__(self, seconds=60):
        self._deadline = time.monotonic() + seconds
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()

        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _AT_THREE_AND_FOUR, str(to_browser), str(from_browser)),
                find_chromium(),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--enable-unsafe-swiftshader",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._folder.name}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser),
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._number, self._session = b"", 0, None
        self.messages, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0,
                  downloadThroughput=0, uploadThroughput=0)  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def call(self, method, **parameters):
        """A method of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path, width=1400, height=900, *, dark=False, touch=False):
        """Show a file, and wait until its script has drawn all that is visible."""
        self.messages, self.requests = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=touch)  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        self.wait("document.documentElement?.dataset.drawn === 'yes'")

    def wait(self, condition):
        """Until an expression of JavaScript is true."""
        while not self.value(condition):
            assert time.monotonic() < self._deadline, (condition, self.messages)
            time.sleep(0.05)

    def value(self, expression):
        """What an expression of JavaScript gives, of types that JSON has."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def drag(self, *places):
        """The mouse, pressed at the first place and let go at the last; one place is a click."""
        first, last = places[0], places[-1]
        for kind, (x, y) in (
            ("mouseMoved", first),
            ("mousePressed", first),
            *(("mouseMoved", place) for place in places[1:]),
            ("mouseReleased", last),
        ):
            button = "none" if kind == "mouseMoved" and len(places) == 1 else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button,
                      buttons=int(kind != "mouseReleased"), clickCount=1)  # fmt: skip

    def screenshot(self, path, *, whole=True):
        """Write a PNG of the page, or of what the window shows of it."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _next(self):
        while b"\0" not in self._rest:
            left = self._deadline - time.monotonic()
            ready, _, _ = select.select([self._from], [], [], max(0, left))
            assert ready, "Chromium does not answer"
            read = os.read(self._from, 1 << 20)
            assert read, "Chromium has ended"
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            words = [str(each.get("value", each.get("description"))) for each in given["args"]]
            self.messages.append(f"{given['type']}: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            self.messages.append(f"exception: {given['exceptionDetails']}")
        elif method == "Log.entryAdded":
            self.messages.append(f"{given['entry']['level']}: {given['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        return message
