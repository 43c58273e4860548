"""Pages in a real browser, offline: Debian's chromium, driven by selenium."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgepress.reporting import index
from tests.browser import generated

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}


@dataclass(frozen=True)
class Browser:
    """The driver, and what the tests ask of it."""

    driver: Any

    def open(self, page: Path, width: int = 1280, scheme: str = "light") -> None:
        """Open a page anew, in a window as wide as said, which prefers the colour scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        prefers = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": prefers})
        self.driver.get(page.as_uri())

    def js(self, script: str, *arguments: Any) -> Any:
        """What a script, whose ``return`` may be left out, gives."""
        return self.driver.execute_script(script if "return" in script else f"return {script}", *arguments)

    def select(self, control: str, text: str) -> None:
        """Pick, in the drop-down of that id, the entry that begins with a text."""
        from selenium.webdriver.support.select import Select

        found = Select(self.driver.find_element("id", control))
        found.select_by_visible_text(next(one.text for one in found.options if one.text.startswith(text)))

    def click(self, css: str) -> None:
        """Click on the element that a selector finds."""
        element = self.driver.find_element("css selector", css)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def texts(self, css: str) -> list[str]:
        """The texts of the elements that a selector finds."""
        return self.js("return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)", css)

    def complaints(self) -> list[str]:
        """What the console has had to say since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium is not installed; tests/browser/chromium.sh install does it")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE)
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Path:
    """The first page of a generated run."""
    folder = generated.write(tmp_path_factory.mktemp("run") / "generated")
    page = folder / "report/index.html"
    index.write({generated.NOTEBOOK: {"digits": []}}, folder, page)
    return page


@pytest.fixture
def explorer(browser, report) -> Iterator[Browser]:
    """The browser at that page; whatever is done there, the console must stay silent."""
    browser.complaints()
    browser.open(report)
    yield browser
    assert browser.complaints() == []
