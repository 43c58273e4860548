"""The page of ``edgepress compare`` in a browser."""

import json
import re

import pytest

from edgepress.cli import main
from tests.browser import generated


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two generated runs; the second loses twenty points of accuracy at 4 bits and was made by another torch."""
    folder = tmp_path_factory.mktemp("runs")
    before, after = (generated.write(folder / name) for name in ("before", "after"))
    lines = (after / "metrics.csv").read_text().splitlines(keepends=True)

    def worse(line: str) -> str:
        return re.sub(r"0\.9\d+", lambda found: f"{float(found[0]) - 0.2}", line) if ",w4," in line else line

    (after / "metrics.csv").write_text("".join(map(worse, lines)))
    manifest = json.loads((after / "manifest.json").read_text())
    (after / "manifest.json").write_text(json.dumps(manifest | {"packages": {"edgepress": "2"}}))
    page = folder / "page.html"
    assert main(["compare", str(before), str(after), "--html", str(page)]) == 1
    return page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_says_what_differs_and_how_the_runs_were_made(browser, page, width, scheme):
    browser.complaints()
    browser.open(page, width, scheme)
    assert browser.texts("li b") == ["Something differs beyond noise."]
    assert browser.texts("main table:not([data-sorted]) tbody td") == ["version: edgepress", "1", "2"]
    rows = browser.texts("[data-sorted] tbody tr")
    assert len(rows) == 6 and all("w4" in row for row in rows)
    assert browser.js("document.documentElement.scrollWidth") <= width
    browser.click("[data-sorted] th:nth-child(4) button")
    browser.driver.find_element("css selector", "#cells-tools input").send_keys("small lsq")
    assert len(browser.texts("[data-sorted] tbody tr")) == 1
    assert browser.complaints() == []
