"""Reading a recipe file: a small file of plain YAML values, kept as it was written."""

from __future__ import annotations

from pathlib import Path

from pipeline.plain_yaml import load_document, read_yaml
from pipeline.recipe.parse import parse_recipe
from pipeline.recipe.types import Recipe


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file `path`. Raises InputError that lists every fault."""
    text = read_yaml(path, "a recipe")
    return parse_recipe(load_document(text, str(path)), str(path), text)
