"""docs/recipes.md lists every method with its parameters, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.recipe import METHODS

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"


def rows() -> dict[str, str]:
    """The parameters as the table of methods states them, by method."""
    found = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[2])
    return found


def test_the_table_of_methods_is_complete() -> None:
    assert sorted(rows()) == sorted(METHODS)


def test_every_parameter_is_listed_and_required_ones_are_bold() -> None:
    for name, stated in rows().items():
        plain = set(re.findall(r"(\w+) \[", stated))
        bold = set(re.findall(r"\*\*(\w+)\*\*", stated))
        specs = METHODS[name].parameters.values()
        assert bold == {spec.name for spec in specs if spec.default is None}, name
        assert plain == {spec.name for spec in specs if spec.default is not None}, name
