"""YAML of plain values that may be hostile: bounded size, depth and count; no objects, no key given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.files import read_file

MAX_BYTES = 1_000_000
# A recipe has a few hundred. The parser reads some 20,000 in a second.
MAX_WRITTEN = 50_000
# Counted with every alias written out, so that a few lines cannot stand for billions of values.
MAX_NODES = 100_000
MAX_DEPTH = 50
_MAX_DIGITS = 100
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# What PyYAML raises where a value does not fit its tag, besides its own errors.
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def load_yaml(path: Path) -> Any:
    """The content of a YAML file of plain values. Raises InputError naming the file and the line."""
    return load_document(read_yaml(path), str(path))


def read_yaml(path: Path, what: str = "a YAML file") -> str:
    """The text of the file, which is `what` in messages. Raises InputError."""
    try:
        text = read_file(path, MAX_BYTES, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason}). Save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def load_document(text: str, where: str) -> Any:
    """The plain values of one YAML document. Raises InputError naming `where` and the line."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        count, depth = _measured(node, {})
        if count > MAX_NODES:
            raise InputError(
                f"{where}: its aliases stand for more than {MAX_NODES} values. Write them out."
            )
        if depth > MAX_DEPTH:
            raise RecursionError
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InputError(_explained(error, where)) from None
    except RecursionError:
        raise InputError(
            f"{where}: its values are nested too deeply; at most {MAX_DEPTH} levels are read. "
            "Write it flatter."
        ) from None


def _explained(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{where}{line}: not valid YAML: {problem}."


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, and says for every fault where it stands."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._written = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node. Raises MarkedYAMLError where it is one too many."""
        node = super().compose_node(parent, index)
        self._written += 1
        if self._written > MAX_WRITTEN:
            raise _fault(f"more than {MAX_WRITTEN} values", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The next mapping. Raises MarkedYAMLError where a key stands in it twice."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    twice = f"the key {key.value!r:.80} is given twice, on lines {lines[name]}"
                    raise _fault(f"{twice} and {line}", key)
                lines[name] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. Raises MarkedYAMLError where it does not fit its tag."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
                raise _fault(f"a number of {len(node.value)} characters", node)
            if any("\ud800" <= c <= "\udfff" for c in node.value):  # only escapes can give one
                raise _fault("half of a surrogate pair, which is no character", node)
        try:
            return super().construct_object(node, deep)
        except _MISFITS:
            tag = node.tag.removeprefix("tag:yaml.org,2002:")
            raise _fault(f"a value that is no {tag}", node) from None


def _fault(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _measured(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """The count of nodes and the levels below `node`, aliases written out; in itself: too many."""
    if id(node) not in known:
        known[id(node)] = (MAX_NODES + 1, 0)  # stands while its children are counted
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [c for child in children for c in (child if isinstance(child, tuple) else (child,))]
        found = [_measured(child, known) for child in flat]
        count = 1 + sum(count for count, _ in found)
        known[id(node)] = (count, 1 + max((depth for _, depth in found), default=0))
    return known[id(node)]
