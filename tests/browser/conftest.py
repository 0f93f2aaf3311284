"""A browser for the tests of pages; without one they are skipped, naming what is absent."""

import shutil
from dataclasses import dataclass, field

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Look:
    """What a browser found in a page."""

    violations: list[str]
    """Of axe-core's rules, each with its first element."""
    width: int
    """Pixels that the page takes, those outside the window included."""
    asked: list[str] = field(default_factory=list)
    """Addresses outside the page's folder that it asked for."""
    failures: list[str] = field(default_factory=list)
    """Errors of scripts, and files that are not there."""


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once for all pages."""
    for package in ("playwright", "axe_playwright_python"):
        pytest.importorskip(package, reason=f"{package} is not installed: requirements/browser.txt")
    from playwright.sync_api import sync_playwright

    if not (program := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser):
    """A function that opens a file in a window of that width, light or dark, and says what it found."""

    def look_at(path, scheme="light", width=1100):
        from axe_playwright_python.sync_playwright import Axe

        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        asked, failures = [], []
        page.on(
            "request", lambda request: None if request.url.startswith(("data:", "file:")) else asked.append(request.url)
        )
        page.on("requestfailed", lambda request: failures.append(request.url[:200]))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(path.resolve().as_uri())
        # Without preloading: axe would fetch a style sheet's imports from the wrong folder.
        found = Axe().run(page, options={"preload": False}).response["violations"]
        violations = [f"{one['id']} ({len(one['nodes'])}): {one['nodes'][0]['html'][:200]}" for one in found]
        taken = page.evaluate("document.documentElement.scrollWidth")
        page.close()
        return Look(violations, taken, asked, failures)

    return look_at
