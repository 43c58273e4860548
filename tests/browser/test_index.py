"""The first page of the report as readers use it: from the file system, offline, with mouse or keyboard."""

import time

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from edgepress.reporting import explorer as points
from edgepress.reporting import index, results, selection

PLOTTED = "document.getElementById('plot').data.map((trace) => [[...trace.x], [...trace.y], trace.hoverinfo ?? ''])"
TITLES = "['xaxis', 'yaxis'].map((axis) => document.getElementById('plot').layout[axis].title.text)"
MANY, NETWORKS = 20_000, 40
FOCUSABLE = "a[href], button, input, select, summary, [tabindex='0']"


def plotted(browser) -> list:
    return browser.js(PLOTTED)


def test_the_page_needs_no_other_file_and_no_network(explorer, report, tmp_path):
    alone = tmp_path / "index.html"
    alone.write_bytes(report.read_bytes())
    explorer.open(alone)
    assert explorer.js("performance.getEntriesByType('resource').map((entry) => entry.name)"
                       ".filter((name) => !name.startsWith('data:') && !name.startsWith('blob:'))") == []  # fmt: skip
    assert explorer.js("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert plotted(explorer) and explorer.texts("#points tbody tr")


def test_what_the_page_would_fetch_is_refused(browser, report):
    browser.open(report)
    browser.js("fetch('https://example.org').catch(() => {})")
    browser.js("const image = new Image(); image.src = 'other.png'; document.body.append(image); return 0")
    time.sleep(0.2)
    assert len([text for text in browser.complaints() if "Content Security Policy" in text]) >= 2


@pytest.mark.parametrize(
    ("control", "text"),
    [("dataset", "amounts"), ("network", "small"), ("network", "all of them"), ("x", "bit operations"),
     ("x", "energy per inference"), ("x", "time of a batch of 128"), ("y", "cross-entropy"), ("y", "change"),
     ("split", "val")],
)  # fmt: skip
def test_what_is_picked_changes_the_plot(explorer, control, text):
    before = plotted(explorer), explorer.js(TITLES)
    explorer.select(control, text)
    assert (plotted(explorer), explorer.js(TITLES)) != before
    if control in ("x", "y"):
        assert any(title.startswith(text) or f" {text}" in title for title in explorer.js(TITLES))


def test_an_axis_is_offered_only_where_the_run_has_something_on_it(explorer):
    costs = {"energy per inference, modelled (µJ)", "time of a batch of 1, measured (ms)"}
    assert costs <= set(explorer.texts("#x option"))
    explorer.select("x", "energy per inference")
    explorer.select("dataset", "amounts")
    assert not costs & set(explorer.texts("#x option"))
    assert explorer.js(TITLES) == ["size of the file (B)", "test MSE (geometric mean)"]


def test_a_point_without_a_value_on_the_axis_is_left_out_and_counted(explorer):
    explorer.click("#pick-all")
    explorer.select("x", "energy per inference")
    levels = explorer.js("[...document.querySelectorAll('#points tbody tr')].map((row) => row.cells[1].textContent)")
    assert sorted(levels) == ["s50", "s50", "s90", "s90", "w32", "w8a8"]
    assert "8 have no value on this axis" in explorer.texts("#status")[0]


@pytest.mark.parametrize("network", ["net", "small"])
def test_the_front_is_that_of_the_library(explorer, report, network):
    metrics = results.load(report.parents[1] / "metrics.csv")
    rows = metrics[(metrics.dataset == "digits") & (metrics.network == network)]
    explorer.select("network", network)
    explorer.click("#pick-all")
    closed, everything = [trace for trace in plotted(explorer) if trace[2] == "skip"]
    for drawn, of in ((closed, rows[~results.retrained(rows)]), (everything, rows)):
        expected = selection.pareto_front(results.over_seeds(of), results.ACCURACY)
        assert drawn[0] == pytest.approx(expected.bytes.tolist())
        assert drawn[1] == pytest.approx((100 * expected.quality).tolist())


def test_the_methods_on_the_front_are_shown_first_and_others_when_they_are_picked(explorer):
    shown = set(explorer.texts("#key span"))
    assert {"full precision", "lsq", "magnitude"} <= shown and "random" not in shown
    explorer.driver.find_element("id", "find").send_keys("rand")
    assert explorer.texts("#families label") == ["random"]
    explorer.click("#families input")
    assert "random" in explorer.texts("#key span")
    explorer.click("#pick-none")
    assert plotted(explorer)[2:] == [] and explorer.texts("#points tbody tr") == []
    explorer.click("#pick-front")
    assert set(explorer.texts("#key span")) == shown


def test_a_point_leads_to_its_row_and_its_packed_files(explorer, report):
    place = """
        const plot = document.getElementById("plot");
        plot.scrollIntoView({block: "center"});
        const trace = plot.data.findIndex((trace) => /lsq/.test(trace.text?.[0]));
        const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
        const {x, y} = plot.data[trace];
        return [xaxis._offset + xaxis.d2p(x[0]), yaxis._offset + yaxis.d2p(y[0]), box.width, box.height];"""
    x, y, width, height = explorer.js(place)
    plot = explorer.driver.find_element("id", "plot")
    mouse = ActionChains(explorer.driver, duration=0)
    mouse.move_to_element_with_offset(plot, round(x - width / 2), round(y - height / 2)).pause(0.2).perform()
    assert any("lsq" in text for text in explorer.texts("#plot .hoverlayer text"))
    mouse.click().perform()
    assert explorer.texts("#detail h3") == ["digits, net: lsq, w2"]
    assert explorer.js("document.querySelector('#points tr[aria-current=true]').cells[0].textContent") == "lsq"
    links = explorer.js("[...document.querySelectorAll('#detail a')].map((link) => link.getAttribute('href'))")
    assert len(links) == 4 and all((report.parent / link).exists() for link in links)


def test_tables_sort_and_filter(explorer):
    table = "[data-sorted='best-method-at-each-precision-tools']"
    column = f'return [...document.querySelectorAll("{table} tbody tr")].map((row) => +row.cells[4].dataset.value)'
    sizes = explorer.js(column)
    for ascending in (True, False):
        explorer.click(f"{table} th:nth-child(5) button")
        assert explorer.js(column) == sorted(sizes, reverse=not ascending)
    search = explorer.driver.find_element("css selector", "#best-method-at-each-precision-tools input")
    search.send_keys("amounts 4")
    assert 0 < len(explorer.js(column)) < len(sizes)
    search.send_keys(" no such row")
    assert explorer.js(column) == []
    assert explorer.texts("#best-method-at-each-precision-tools output")[0].startswith("0 of ")


def test_every_control_is_reached_by_the_keyboard_and_shows_where_the_focus_is(explorer):
    wanted = explorer.js(
        f'return [...document.querySelectorAll("{FOCUSABLE}")].filter((one) => one.checkVisibility()).length'
    )
    seen = {}
    while True:
        ActionChains(explorer.driver, duration=0).send_keys(Keys.TAB).perform()
        place, name, outline = explorer.js(
            "const one = document.activeElement, all = [...document.querySelectorAll('*')];"
            "return [all.indexOf(one), one.outerHTML.slice(0, 80), getComputedStyle(one).outlineStyle]"
        )
        if place in seen or name.startswith("<body"):
            break
        seen[place] = name, outline
    assert len(seen) >= wanted
    assert [name for name, outline in seen.values() if outline == "none"] == []


def test_the_explorer_works_by_the_keyboard_alone(explorer):
    def press(css: str, *keys: str) -> None:
        explorer.js("document.querySelector(arguments[0]).focus()", css)
        ActionChains(explorer.driver, duration=0).send_keys(*keys).perform()

    press("#dataset", Keys.ARROW_DOWN)
    assert explorer.js(TITLES)[1] == "test MSE (geometric mean)"
    before = len(explorer.texts("#points tbody tr"))
    press("[data-pick=random]", Keys.SPACE)
    assert len(explorer.texts("#points tbody tr")) > before
    assert explorer.js("document.activeElement.dataset.pick") == "random"
    press("#points tbody button", Keys.ENTER)
    assert explorer.texts("#detail h3") == ["amounts, net: full precision, w32"]
    assert explorer.js("document.activeElement.textContent") == "full precision"
    press("#points th:nth-child(3) button", Keys.ENTER)
    sizes = explorer.js("[...document.querySelectorAll('#points tbody tr')]"
                        ".map((row) => +row.cells[2].textContent.replace(',', ''))")  # fmt: skip
    assert sizes == sorted(sizes)


def test_every_control_has_a_name(explorer):
    nodes = explorer.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "checkbox", "combobox", "searchbox", "link", "img", "region", "table"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles - {"table"}]
    assert {"button", "checkbox", "combobox", "searchbox", "link"} <= {node["role"]["value"] for node in controls}
    nameless = [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")]
    assert [role for role in nameless if role != "img"] == []


@pytest.mark.parametrize("width", [400, 700, 1280])
def test_the_page_never_scrolls_sideways(explorer, report, width):
    explorer.open(report, width)
    explorer.js("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    explorer.click("#pick-all")
    explorer.click("#points tbody button")
    assert explorer.js("document.documentElement.scrollWidth") <= width
    assert explorer.js("document.getElementById('plot').querySelector('.main-svg').clientWidth") <= width


def test_the_page_follows_the_colour_scheme(explorer, report):
    looks = []
    for scheme in ("light", "dark"):
        explorer.open(report, scheme=scheme)
        looks.append(explorer.js("[getComputedStyle(document.body).backgroundColor,"
                                 " document.getElementById('plot').layout.paper_bgcolor,"
                                 " document.getElementById('plot').data.at(-1).marker.color]"))  # fmt: skip
    assert all(light != dark for light, dark in zip(*looks, strict=True))


def test_twenty_thousand_points_are_shown(browser, report, tmp_path, monkeypatch):
    """How long it takes is printed (``-s``): it says nothing on a machine that is busy."""
    folder = report.parents[1]
    found = points.data(results.load(folder / "metrics.csv"), folder)
    many = found["datasets"][0]
    copies = MANY // (len(many["level"]) // 2)  # of a network and its points

    def repeated(column: list) -> list:
        return (column[: len(column) // 2] * (copies + 1))[:MANY]

    size = len(many["level"]) // 2
    many["costs"] = {name: repeated(column) for name, column in many["costs"].items()}
    many["quality"] = {
        name: {split: [repeated(column) for column in columns] for split, columns in splits.items()}
        for name, splits in many["quality"].items()
    }
    many |= {name: repeated(many[name]) for name in ("method", "level", "ratio")}
    many["network"] = [place // size % NETWORKS for place in range(MANY)]
    many["networks"] = [many["networks"][0] | {"label": f"net {place}"} for place in range(NETWORKS)]
    monkeypatch.setattr(index.explorer, "data", lambda *_: found)
    page = tmp_path / "many.html"
    index.write({}, folder, page)
    browser.open(page)
    seconds = browser.js("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    print(f"{MANY:,} points, {page.stat().st_size / 1e6:.1f} MB: {seconds:.2f} s to load")
    assert browser.js("data.datasets[0].level.length") == MANY
    browser.select("network", "net 7")
    browser.click("#pick-all")
    assert abs(int(browser.texts("#status")[0].split()[0]) - MANY / NETWORKS) <= size
    assert len(browser.texts("#points tbody tr")) == 200
    browser.click("#points-tools .more")
    assert len(browser.texts("#points tbody tr")) == int(browser.texts("#status")[0].split()[0])
    assert browser.complaints() == []
