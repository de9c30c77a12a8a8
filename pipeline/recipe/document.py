"""Reading a recipe file: small YAML of plain values; no duplicate keys, objects or alias bombs."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.recipe.parse import parse_recipe
from pipeline.recipe.types import Recipe

MAX_BYTES = 1_000_000
# Counted with every alias written out, so that a few lines cannot stand for billions of values.
MAX_NODES = 100_000


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file `path`. Raises InputError that lists every fault."""
    text = _read(path)
    return parse_recipe(load_document(text, str(path)), str(path), text)


def load_document(text: str, where: str) -> Any:
    """The plain values of one YAML document. Raises InputError naming `where` and the line."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MAX_NODES:
            raise InputError(
                f"{where}: its aliases stand for more than {MAX_NODES} values. Write them out."
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InputError(_explained(error, where)) from None
    except RecursionError:
        raise InputError(f"{where}: its values are nested too deeply for a recipe.") from None
    except ValueError as error:  # a malformed timestamp or number
        raise InputError(f"{where}: not valid YAML: {error}") from None


def _read(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes; a recipe has at most {MAX_BYTES}.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Give the path of a recipe in YAML.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder. Give the path of a recipe in YAML.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason}).") from None


def _explained(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    return f"{where}{line}: not valid YAML: {getattr(error, 'problem', None) or error}."


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises ConstructorError where a key stands in it twice."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The nodes below `node` with aliases written out; a node inside itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # stands while its children are counted
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [c for child in children for c in (child if isinstance(child, tuple) else (child,))]
        known[id(node)] = 1 + sum(_count(child, known) for child in flat)
    return known[id(node)]
