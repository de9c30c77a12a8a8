"""The page in headless Chromium: it complains of nothing, asks for nothing, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import NAMES, Page, browser, executable
from rendered import evidence, examples, judged, mapped, promoted, row, whole, write

from pipeline.report import render_report

BINARY = executable()
pytestmark = pytest.mark.skipif(
    BINARY is None, reason=f"no browser is installed, none of {', '.join(NAMES)}"
)
WIDTHS = pytest.mark.parametrize("width", [360, 800, 1200])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser(str(BINARY)) as tab:
        yield tab


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The promotion, whole."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(whole(folder), encoding="utf-8")
    return path


def _complaints(page: Page) -> list[dict[str, object]]:
    kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    return page.named(*kinds, "Audits.issueAdded")


def _opened(page: Page) -> None:
    page.value("document.querySelectorAll('details').forEach(d => d.open = true)")


def test_nothing_is_asked_for_and_nothing_is_wrong(page: Page, report: Path) -> None:
    page.open(report)
    requests = [r["request"]["url"] for r in page.named("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert _complaints(page) == []
    assert page.value("document.styleSheets[0].cssRules.length") > 50


def test_what_the_policy_forbids_would_be_noticed(page: Page, report: Path, tmp_path: Path) -> None:
    bad = report.read_text(encoding="utf-8").replace(
        "<main", '<script>document.title = "ran"</script><img src="x.png" alt=""><main'
    )
    path = tmp_path / "bad.html"
    path.write_text(bad, encoding="utf-8")
    page.open(path)
    assert len(_complaints(page)) >= 2
    assert page.value("document.title") != "ran"


def test_hostile_text_runs_nothing_and_breaks_nothing(page: Page, tmp_path: Path) -> None:
    def hostile(text: str) -> str:
        return f"{text}<img src=x onerror=\"document.title='ran'\">" + "w" * 300

    write(tmp_path, mapped(evidence(), hostile))
    path = tmp_path / "report.html"
    made = render_report(mapped(promoted(), hostile), tmp_path, mapped(examples(), hostile))
    path.write_text(made, encoding="utf-8")
    page.open(path, width=360)
    _opened(page)
    assert _complaints(page) == []
    assert page.value("document.images.length") == 0
    assert page.value("document.title") != "ran"
    assert page.value("document.documentElement.scrollWidth") == 360


@WIDTHS
@pytest.mark.parametrize("outcome", ["promote", "reject", "cannot judge"])
def test_the_page_is_no_wider_than_its_window(
    page: Page, tmp_path: Path, outcome: str, width: int
) -> None:
    record = promoted() if outcome == "promote" else judged(outcome, "json: why not")
    path = tmp_path / "report.html"
    write(tmp_path, evidence())
    path.write_text(render_report(record, tmp_path, examples()), encoding="utf-8")
    page.open(path, width=width)
    _opened(page)
    assert page.value("document.documentElement.scrollWidth") <= width


def test_a_phone_gets_the_narrow_drawings_and_a_desktop_the_wide_ones(
    page: Page, report: Path
) -> None:
    shown = "[...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).map(s => s.classList[0])"
    page.open(report, width=360)
    assert page.value(shown) == ["only-narrow", "only-narrow"]
    page.open(report, width=1200)
    assert page.value(shown) == ["only-wide", "only-wide"]


_OUTSIDE = """[...document.querySelectorAll('svg text')].filter(t => t.checkVisibility()).filter(t => {
  const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
  return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1 || a.height < 10;
}).map(t => t.textContent)"""
_OVERLAP = """[...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).flatMap(s => {
  const all = [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return all.flatMap(([text, a], i) => all.slice(i + 1).filter(([, b]) =>
    a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom
  ).map(([other]) => text + ' | ' + other));
})"""


@pytest.mark.parametrize("width", [360, 800, 1200])
def test_text_in_drawings_stays_inside_and_apart(page: Page, tmp_path: Path, width: int) -> None:
    record = promoted()
    figures = {"difference": -0.2345, "lower": -0.2567, "upper": -0.2112}
    for artifact in ("merged", "quantized"):
        for name in ("json[vs plain]", "json[language=" + "abcdefghij" * 5, "Customer_MATTERS" * 4):
            record["verdict"]["rows"].append(row(name, artifact, **figures))
            record["verdict"]["rows"].append(row(f"S{name}", artifact, kind="safety", **figures))
    path = tmp_path / "report.html"
    path.write_text(render_report(record, tmp_path, {}), encoding="utf-8")
    page.open(path, width=width)
    assert page.value(_OUTSIDE) == []
    assert page.value(_OVERLAP) == []


@pytest.mark.parametrize(
    ("scheme", "page_colour", "text"),
    [
        ("light", "rgb(255, 255, 255)", "rgb(27, 31, 36)"),
        ("dark", "rgb(20, 24, 29)", "rgb(232, 235, 239)"),
    ],
)
def test_light_and_dark_follow_the_reader(
    page: Page, report: Path, scheme: str, page_colour: str, text: str
) -> None:
    page.open(report, scheme=scheme)
    assert page.value("getComputedStyle(document.body).backgroundColor") == page_colour
    assert page.value("getComputedStyle(document.body).color") == text


def test_print_is_light_with_all_details_open(page: Page, report: Path) -> None:
    page.open(report, scheme="dark")
    hidden = "document.querySelector('.example').getBoundingClientRect().height"
    assert page.value("document.querySelector('details').open") is False
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.value("document.querySelector('.example').checkVisibility()") is True
    assert page.value(hidden) > 50
    assert page.pdf().startswith(b"%PDF")
    page.call("Emulation.setEmulatedMedia", media="")


def test_print_fits_a4(page: Page, report: Path) -> None:
    page.open(report, width=680)  # 180 mm
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.value("document.documentElement.scrollWidth") <= 680
    page.call("Emulation.setEmulatedMedia", media="")


def test_all_of_it_is_there_without_javascript(page: Page, report: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report)
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=root, selector="main")["nodeId"]
        html = page.call("DOM.getOuterHTML", nodeId=node)["outerHTML"]
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    for said in ("json-0007", "Yadav et al. 2023", "ticket 7", "<svg", "at most 1.5"):
        assert said in html


def test_the_first_tab_stop_skips_to_the_content(page: Page, report: Path) -> None:
    page.open(report)
    page.call(
        "Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9
    )
    assert page.value("document.activeElement.className") == "skip"
    assert page.value("document.activeElement.getBoundingClientRect().left") >= 0
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
