"""The page loads nothing, runs nothing, and what came from models and golden sets is text in it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rendered import Read, evidence, examples, mapped, promoted, whole, write

from pipeline.report import render_report

HOSTILE = (
    "</title></style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{7*7}}"
)
HIDDEN = "\u202e\u2066\u200b\x00\x1b\ufeff\u2028\U000e0041\U000e0101\ud800"


def _hostile(text: str) -> str:
    return f"{text}{HOSTILE}{HIDDEN}"


def _harmless(text: str) -> str:
    """As long as a hostile one, since a plot sets long names otherwise than short ones."""
    return text + "x" * len(HOSTILE + HIDDEN)


def _attacked(folder: Path, attack: Callable[[str], str] = _hostile) -> str:
    """The whole report with every text of record, evidence and examples changed, and the sources' keys."""
    write(folder, mapped(evidence(), attack))
    record = mapped(promoted(), attack)
    sources = record["identity"]["sources"]
    record["identity"]["sources"] = {attack(name): pin for name, pin in sources.items()}
    return render_report(record, folder, mapped(examples(), attack))


def _shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attributes)) for tag, attributes in Read(page).elements]


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    for page in (whole(tmp_path), _attacked(tmp_path)):
        for tag, attributes in Read(page).elements:
            assert tag not in {"script", "iframe", "object", "embed", "form", "img", "base", "use"}
            for name, value in attributes.items():
                assert not name.startswith("on"), name
                assert name != "style"
                if name in {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}:
                    assert value.startswith(("#", "data:,")), (tag, name, value)
        style = page[page.index("<style>") : page.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert "@font-face" not in style


def test_only_our_own_style_is_allowed(tmp_path: Path) -> None:
    page = whole(tmp_path)
    style = page[page.index("<style>") + len("<style>") : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (a["content"] for t, a in Read(page).elements if a.get("http-equiv"))
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_hostile_text_makes_no_element_and_no_attribute(tmp_path: Path) -> None:
    after = _attacked(tmp_path)
    assert not Read(after).unclosed
    assert _shape(after) == _shape(_attacked(tmp_path, _harmless))


def test_hostile_text_is_shown_as_it_is(tmp_path: Path) -> None:
    page = _attacked(tmp_path)
    assert "<script" not in page
    text = Read(page).text
    assert f"Route this ticket.{HOSTILE}" in text
    assert f"I would rather not.{HOSTILE}" in text
    assert "{{7*7}}" in text


def test_hidden_characters_are_made_visible(tmp_path: Path) -> None:
    page = _attacked(tmp_path)
    assert not set(HIDDEN) & set(page)
    page.encode("utf-8")  # lone surrogates would not
    assert "⟨U+202E⟩⟨U+2066⟩⟨U+200B⟩⟨U+0000⟩⟨U+001B⟩⟨U+FEFF⟩⟨U+2028⟩⟨U+E0041⟩" in Read(page).text


def test_hostile_keys_are_text_too(tmp_path: Path) -> None:
    record = promoted()
    record["identity"]["versions"] = {HOSTILE: "1"}
    record["refused"] = {HOSTILE: record["refused"]["plain task arithmetic"]}
    record["rollback"]["experts"] = {HOSTILE: record["rollback"]["experts"]["json"]}
    page = render_report(record, tmp_path, {})
    assert "<script" not in page
    assert Read(page).text.count(HOSTILE) >= 3


def _ids(page: Read) -> list[str]:
    return [a["id"] for _, a in page.elements if "id" in a]


def test_every_reference_inside_the_page_leads_somewhere(tmp_path: Path) -> None:
    page = Read(whole(tmp_path))
    ids = _ids(page)
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for target in attributes.get("aria-labelledby", "").split():
            assert target in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_headings_go_down_one_level_at_a_time(tmp_path: Path) -> None:
    levels = [
        int(tag[1]) for tag, _ in Read(whole(tmp_path)).elements if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_and_drawings_are_named_for_a_screen_reader(tmp_path: Path) -> None:
    page = Read(whole(tmp_path))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") >= 7
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 4
    assert all(d["role"] == "img" and len(d["aria-labelledby"].split()) == 2 for d in drawings)
    assert tags.count("desc") == 4
    assert {"header", "nav", "main", "footer"} <= set(tags)
    links = [a for tag, a in page.elements if tag == "a"]
    assert links[0] == {"class": "skip", "href": "#main"}
    regions = [a for _, a in page.elements if a.get("role") == "region"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def _palettes(page: str) -> dict[str, dict[str, str]]:
    """The custom properties in light and, on top of them, in dark."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    )
    return {"light": light, "dark": {**light, **dark}}


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_the_ratio_of_wcag() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme: str, tmp_path: Path) -> None:
    colours = _palettes(whole(tmp_path))[scheme]
    outcomes = ("good", "bad", "open", "none", "waived")
    pairs = [(text, on) for text in ("text", "quiet", "link") for on in ("page", "panel")]
    pairs += [(name, on) for name in outcomes for on in ("page", "panel", f"{name}-panel")]
    pairs += [("text", f"{name}-panel") for name in outcomes]
    pairs += [(f"s{step}-text", f"s{step}") for step in range(8)]
    poor = {p: c for p in pairs if (c := _contrast(colours[p[0]], colours[p[1]])) < 4.5}
    assert not poor


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_of_the_plot_have_the_contrast_of_wcag_aa(scheme: str, tmp_path: Path) -> None:
    colours = _palettes(whole(tmp_path))[scheme]
    names = ("good", "bad", "open", "none", "waived", "text")
    poor = [n for n in names for on in ("page", "loss") if _contrast(colours[n], colours[on]) < 3]
    assert not poor
