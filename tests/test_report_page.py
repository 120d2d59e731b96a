"""Pages of the verb report in a real browser: drawn, whole, on a phone too, and without a network.

Needs Chromium (Debian: `apt-get install chromium`); skipped where there is none.
"""

import json
import re
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from report_cases import EVIL, PNG, exploration, frame, simulated, synthesis, written

from oleaster.cli import main

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

COUNT = 10_000
# The smaller exploration is the last: files are given by name.
SMALL = "[...document.querySelectorAll('figure.points')].at(-1)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of every kind of run; hostile names, and 10,000 points."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("page")
        patch.chdir(folder)
        simulated("net.json", "--memory", "real", "--design", "olive-64x64,gpu-olive")
        simulated("one.json", "--design", "accelerator-16x16")
        written("small.json", exploration(200))
        written("large.json", exploration(COUNT))
        written("area.json", synthesis())
        written("frame.json", frame("duck.png"))
        Path("duck.png").write_bytes(PNG)
        files = sorted(path.name for path in folder.glob("*.json"))
        assert main(["report", *files, "duck.png", "-o", "page.html", "--title", EVIL]) == 0
        return folder / "page.html"


@pytest.fixture(scope="module")
def browser():
    if find_chromium() is None:
        pytest.skip("no Chromium here; Debian's is `apt-get install chromium`")
    with Chromium(seconds=240) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def wide(page, browser):
    """The page in a wide window, opened once for all that only look, or clean up."""
    browser.open(page)
    return browser


def test_ten_thousand_points_fit_in_6_mb(page):
    assert page.stat().st_size < 6_000_000
    specs = re.findall(r'<script type="application/json">(.*?)</script>', page.read_text())
    assert [len(json.loads(spec).get("numbers", ())) for spec in specs].count(COUNT * 19 // 20) == 1


def test_nothing_leaves_and_nothing_is_wrong(wide):
    assert {url.split(":")[0] for url in wide.requests} == {"file", "data"}
    assert sum(url.startswith("file:") for url in wide.requests) == 1
    assert [each for each in wide.messages if not each.startswith("warning: [.WebGL")] == []
    # Of Plotly's buttons, one would send the figure to its maker.
    titles = wide.value(
        "[...document.querySelectorAll('.modebar-btn')].map(each => each.dataset.title)"
    )
    assert "Box Select" in titles
    assert not [title for title in titles if re.search("share|edit|cloud", title, re.I)]


def test_names_are_shown_as_they_are(wide):
    assert wide.value("document.title") == wide.value("document.querySelector('h1').innerText")
    assert wide.value("document.title") == EVIL
    assert wide.value("document.querySelectorAll('b, main a, svg a').length") == 0
    shown = wide.value(
        "[...document.querySelectorAll('.ytick text')].map(each => each.textContent)"
    )
    assert EVIL in shown


def test_points_are_selected(wide):
    run = exploration(200)
    done = {point["number"]: point for point in run["points"] if point["state"] == "complete"}
    centre = "{block: 'center', behavior: 'instant'}"
    wide.value(f"{SMALL}.querySelector('.plot').scrollIntoView({centre})")
    head = f"{SMALL}.querySelector('h4').textContent"
    numbers = (
        f"[...{SMALL}.querySelectorAll('tbody tr')].map(row => parseInt(row.cells[0].textContent))"
    )
    assert wide.value(head) == "Pareto-optimal points"
    assert sorted(wide.value(numbers)) == sorted(run["pareto"])
    box = wide.value(
        f"(() => {{ const box = {SMALL}.querySelector('.nsewdrag').getBoundingClientRect();"
        " return [box.left, box.top, box.right, box.bottom] })()"
    )
    left, top, right, bottom = box

    def place(number):
        x, y = done[number]["values"]["cycles"], done[number]["values"]["energy_uj"]
        return wide.value(
            f"(() => {{ const {{xaxis, yaxis}} = {SMALL}.querySelector('.plot')._fullLayout;"
            f" return [{left} + xaxis.d2p({x}), {top} + yaxis.d2p({y})] }})()"
        )

    # Half of the plot, by dragging.
    middle = (left + right) / 2
    wide.drag((left + 2, top + 2), (middle - 40, bottom - 90), (middle, bottom - 2))
    wide.wait(f"{head}.startsWith('Selected points')")
    within = {number for number in done if left < place(number)[0] < middle}
    assert 20 < len(within) < 180
    assert wide.value(head) == f"Selected points: {len(within)}" + (
        f", the first 100 of {len(within)}" if len(within) > 100 else ""
    )
    assert set(wide.value(numbers)) <= within
    broken = {number for number in within if not done[number]["feasible"]}
    marked = f"[...{SMALL}.querySelectorAll('td:first-child')].map(each => each.textContent)"
    assert sorted(each for each in wide.value(marked) if not each.isdecimal()) == sorted(
        f"{number}, infeasible" for number in broken
    )
    wide.value(f"{SMALL}.querySelector('.chosen button').click()")
    assert wide.value(head) == "Pareto-optimal points"
    # One point, by a click.
    best = run["pareto"][0]
    wide.drag(place(best))
    wide.wait(f"{head} === 'Selected points: 1'")
    assert wide.value(numbers) == [best]
    cells = wide.value(f"[...{SMALL}.querySelectorAll('tbody td')].map(each => each.textContent)")
    # The mouse is still there, so its label is, too.
    hovered = wide.value(f"{SMALL}.querySelector('.hoverlayer').textContent")
    assert hovered.startswith(f"point {best}rows: ")
    assert "metric 11: " in hovered
    assert cells[1:4] == [str(value) for value in done[best]["parameters"].values()]


def test_axes_can_be_chosen(wide):
    wide.value(
        f"(() => {{ const select = {SMALL}.querySelector('select[name=x]'); select.value = 2;"
        " select.dispatchEvent(new Event('change')); })()"
    )
    title = f"{SMALL}.querySelector('.xtitle').textContent"
    wide.wait(f"{title} === 'format'")
    shown = f"[...{SMALL}.querySelectorAll('.xtick text')].map(each => each.textContent)"
    assert sorted(wide.value(shown)) == sorted([EVIL, "int4"])


@pytest.mark.parametrize(("width", "height", "phone"), [(1400, 900, False), (390, 844, True)])
def test_the_page_is_drawn_whole(page, wide, width, height, phone):
    if phone:
        wide.open(page, width, height, dark=True, touch=True)
    unfold = "document.querySelectorAll('details').forEach(each => each.open = true)"
    wide.value(unfold)
    plots = "[...document.querySelectorAll('.plot')]"
    wide.wait(f"{plots}.every(each => each.querySelector('.main-svg'))")
    # Every figure of the page has marks: bars, markers, lines, or WebGL's canvas.
    marks = "path.point, .point path, .points path, path.js-line, .gl-canvas"
    found = wide.value(f"{plots}.map(each => each.querySelectorAll('{marks}').length)")
    assert len(found) == 2 * 2 + 4 + 4 + 4 + 1 + 2 + 2
    assert all(found)
    assert wide.value("document.querySelectorAll('.gl-canvas').length") == 3  # of one plot
    assert "WebGL is not supported" not in wide.value("document.body.textContent")
    # Nothing is cut or scrolls sideways but tables, in boxes of their own.
    assert wide.value("document.documentElement.scrollWidth") == width
    edges = wide.value(
        "[...document.querySelectorAll('.main-svg, img, h1, h2, .tiles, .scroll, pre, select')]"
        ".map(each => each.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    assert all(0 <= left < right <= width for left, right in edges)
    texts = wide.value(
        "[...document.querySelectorAll('.main-svg text')].filter(each => each.textContent)"
        ".map(each => [each.textContent, each.getBoundingClientRect(),"
        " each.closest('.plot').getBoundingClientRect()])"
        ".filter(([, box, plot]) => box.left < plot.left - 1 || box.right > plot.right + 1)"
        ".map(([text]) => text)"
    )
    assert texts == []
