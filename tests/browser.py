"""A headless Chromium, driven through chromedriver's own HTTP interface."""

import base64
import json
import pathlib
import shutil
import subprocess
import urllib.request
from typing import Any, Self

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

_OPTIONS = (
  "--headless=new",
  "--no-sandbox",  # Needed by root, which tests in containers often are.
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--hide-scrollbars",
)


class Browser:
  """A browser with one page."""

  def __init__(self):
    """Starts it; DRIVER and CHROMIUM must not be None."""
    # Whatever proxy the environment names, the driver is on this machine.
    self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    self._driver = subprocess.Popen(
      [DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True
    )
    for line in self._driver.stdout:
      if "started successfully on port" in line:
        self._url = f"http://127.0.0.1:{line.split()[-1].rstrip('.')}/session"
        break
    options = {"binary": CHROMIUM, "args": _OPTIONS}
    wanted = {
      "goog:chromeOptions": options,
      "goog:loggingPrefs": {"browser": "ALL"},
    }
    made = self._post("", {"capabilities": {"alwaysMatch": wanted}})
    self._url += f"/{made['sessionId']}"

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._call(urllib.request.Request(self._url, method="DELETE"))
    self._driver.terminate()
    self._driver.wait()
    self._driver.stdout.close()

  def open(
    self, file: pathlib.Path, *, width: int = 1100, dark: bool = False
  ) -> None:
    """Loads a file at a width in CSS pixels, in the light or dark theme."""
    self.command(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=800,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    theme = {
      "name": "prefers-color-scheme",
      "value": "dark" if dark else "light",
    }
    self.command("Emulation.setEmulatedMedia", features=[theme])
    self._post("/url", {"url": file.resolve().as_uri()})

  def run(self, script: str) -> Any:
    """What a script returns."""
    return self._post("/execute/sync", {"script": script, "args": []})

  def log(self) -> list[str]:
    """Messages of the console since the last call."""
    return [m["message"] for m in self._post("/se/log", {"type": "browser"})]

  def screenshot(self, *, top: int = 0, height: int = 0) -> bytes:
    """The page as PNG: all of it, or from some pixel on so many pixels."""
    size = self.run(
      "return [document.documentElement.clientWidth,"
      " document.documentElement.scrollHeight]"
    )
    clip = {
      "x": 0,
      "y": top,
      "width": size[0],
      "height": min(height or size[1], size[1] - top),
      "scale": 1,
    }
    taken = self.command(
      "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
    )
    return base64.b64decode(taken["data"])

  def command(self, name: str, **parameters: Any) -> Any:
    """A command of the DevTools protocol."""
    body = {"cmd": name, "params": parameters}
    return self._post("/goog/cdp/execute", body)

  def _post(self, path: str, body: dict[str, Any]) -> Any:
    return self._call(
      urllib.request.Request(
        self._url + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
      )
    )

  def _call(self, request: urllib.request.Request) -> Any:
    with self._opener.open(request, timeout=60) as answer:
      return json.load(answer)["value"]
