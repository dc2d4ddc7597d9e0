"""Chromium and JupyterLab for widget tests: no network, no settings of the person at the machine.

A test asks for `chromium()`, then opens a notebook with `lab(folder)` and `run_all`, or a widget
alone in a bare page with `bare_page`. `poll` waits for what the page says, never for a time.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeout

from helpers import static_widgets
from helpers.run_notebooks import kernel_environment
from helpers.widgets.shared import Still, as_json

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    }
}


def poll(question: Callable[[], object], seconds: float, what: str) -> object:
    """The first true answer to ``question``; fails the test after ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return answer


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def lab(
    folder: Path, theme: str = "JupyterLab Light", front_end: str = "jupyterlab"
) -> Iterator[str]:
    """JupyterLab, or another front end ("notebook"), on ``folder``: yields its address.

    Settings lie in ``folder/.settings``.
    """
    settings = folder / ".settings"
    overrides = settings / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    overrides.write_text(
        json.dumps(QUIET | {"@jupyterlab/apputils-extension:themes": {"theme": theme}})
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    places += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    command = [sys.executable, "-m", front_end, "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser"]  # for `change_theme`
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | kernel_environment(folder) | dict.fromkeys(places, str(settings)),
        )
    address = f"http://127.0.0.1:{port}"
    try:
        poll(lambda: ask(f"{address}/api/status"), 120, f"{front_end} (see {log.name})")
        yield address
    finally:
        server.terminate()
        server.wait(30)


def ask(address: str) -> object:
    """The JSON at ``address``, or None while nothing answers."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells for the kernel ``python3``."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, path)


def run_all(page: Page, address: str, name: str, seconds: float, folder: str = "lab/tree") -> None:
    """Open the notebook ``name`` and run every cell; fails when one stops the run.

    ``folder`` is where the front end shows notebooks: Notebook 7 does in "notebooks".
    The menu does nothing until the kernel is connected, and sometimes nothing even then
    (2 of 14 times): so the server is asked first, and the click repeated until a prompt moves.
    """
    page.goto(f"{address}/{folder}/{name}?reset")

    def idle() -> bool:
        kernels = [s["kernel"] for s in ask(f"{address}/api/sessions") or [] if s["path"] == name]
        return any(k["connections"] >= 1 and k["execution_state"] == "idle" for k in kernels)

    page.wait_for_selector(".jp-Notebook-ExecutionIndicator", timeout=60_000)
    poll(idle, 60, f"kernel of {name}")
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(PageTimeout):
            prompts.filter(has_text=re.compile(r"\[[\d*]")).first.wait_for(timeout=4000)
            break

    def finished() -> bool:
        if not idle():
            return False
        complete = prompts.evaluate_all("all => all.every((one) => /\\d/.test(one.textContent))")
        if not complete and (
            raised := page.get_by_text("Traceback (most recent").all_inner_texts()
        ):
            pytest.fail(f"{name} stopped: {raised[-1][-500:]}")
        return complete

    poll(finished, seconds, f"{name} run to its end")


def change_theme(page: Page, theme: str) -> None:
    """Switch JupyterLab or Notebook in `page` to a theme, such as "JupyterLab Dark"."""
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)


def strangers(page: Page) -> list[str]:
    """A list that fills with every address the page asks for beyond this machine."""
    asked: list[str] = []
    near = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:", "file:")
    page.on("request", lambda r: None if r.url.startswith(near) else asked.append(r.url))
    return asked


def watched(browser: Browser, **context: object) -> Page:
    """A page in a context of its own; `asked` (see `strangers`) and `faults` (errors) are its lists."""
    page = browser.new_context(**context).new_page()
    page.asked, page.faults = strangers(page), []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    return page


def bare_page(browser: Browser, widget: Still) -> Page:
    """A page with nothing but a widget, as the site has it: no kernel, no Lab, `model` at hand."""
    state = as_json(widget.own_state())
    name = widget.script()
    page = browser.new_page()
    page.set_content(
        '<div class="pixelwise-widget"><script type="application/json"></script></div>'
    )
    page.add_style_tag(content=str(widget._css))
    page.evaluate(
        "told => { document.querySelector('script').textContent = told; window.pixelwise = {}; }",
        json.dumps({"widget": name, "state": state}),
    )
    for script in (
        static_widgets.define(name, str(widget._esm)),
        static_widgets.HOST.read_text("utf-8"),
    ):
        page.add_script_tag(content=script)
    page.evaluate("pixelwise.start()")
    page.evaluate("window.model = document.querySelector('.pixelwise-widget').model; null")
    return page


def set_state(page: Page, **state: object) -> None:
    """Set traits of the widget alone in `page`, as Python would."""
    page.evaluate("state => Object.entries(state).forEach(([k, v]) => model.set(k, v))", state)


def run_last(page: Page) -> Locator:
    """Run the last cell of the notebook in `page` once more; the cell, to read what it says."""
    last = page.locator(".jp-CodeCell").last
    last.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return last


def colors(canvas: Locator, height: int, width: int) -> np.ndarray:
    """What a canvas shows in a corner of every pixel of its picture: uint8 (height, width, 3).

    The corner, because the hatch of wrong pixels runs along the other diagonal.
    """
    sample = """(canvas, width) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const scale = canvas.width / width, shown = [];
      for (let y = 1; y < canvas.height; y += scale)
        for (let x = 1; x < canvas.width; x += scale)
          shown.push(...data.subarray(4 * (y * canvas.width + x)).subarray(0, 3));
      return btoa(String.fromCharCode(...shown));
    }"""
    shown = base64.b64decode(canvas.evaluate(sample, width))
    return np.frombuffer(shown, np.uint8).reshape(height, width, 3)
