"""Which code a result depends on: modules and what they import, however far, by their syntax.

Comments, docstrings, blank lines and the layout of a module change nothing that it does, so they are no part of
its digest.
"""

from __future__ import annotations

import ast
import hashlib
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.facts import digest_file, digest_of

_METHODS = "pipeline.merge.methods"
_ROOTS: Mapping[str, Path] = {
    name: Path(next(iter(spec.submodule_search_locations or ())))
    for name in ("pipeline", "gates")
    if (spec := find_spec(name))
}
_TRIES, _PAUSE_S = 20, 0.02
_DATA = (".j2", ".yaml", ".json")  # read by the modules of their folder


def code_digest() -> str:
    """SHA-256 over every module and template of `pipeline` and `gates`: what the record calls `code`."""
    return _digest(_names())


def code_digest_of(*modules: str, unused: Collection[str] = ()) -> str:
    """SHA-256 over `modules` and what they import of `pipeline` and `gates`, at any level and within functions.

    Args:
        modules: dotted names. Files of merge methods count only where they, or what imports them by name, are given.
        unused: modules that are imported and do not run, with what only they import.
    """
    return _digest(_closure(modules, unused))


@cache
def method_modules() -> Mapping[str, str]:
    """The module of each merge method, by the name that it is registered under."""
    found: dict[str, str] = {}
    for module in _names():
        if module.startswith(f"{_METHODS}."):
            for node in ast.walk(_parsed(module)):
                if isinstance(node, ast.FunctionDef):
                    found.update((name, module) for name in _registered(node))
    return found


def _registered(function: ast.FunctionDef) -> Iterator[str]:
    """The names in `@method("ties")` above a function."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "method":
            yield from (str(a.value) for a in decorator.args if isinstance(a, ast.Constant))


def _closure(modules: Collection[str], unused: Collection[str]) -> set[str]:
    found: set[str] = set()
    due = [name for module in modules for name in _with_parents(module)]
    while due:
        name = due.pop()
        if name not in found and name not in unused:
            found.add(name)
            due += _imports(name)
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The modules of ours that a module imports, and the packages above them."""
    if (
        module == _METHODS
    ):  # it imports every method so that each is registered; which one is used, the recipe says
        return tuple(_with_parents(f"{_METHODS}.registry"))
    named = dict.fromkeys(name for node in _executed(_parsed(module)) for name in _named(node))
    ours = (part for name in named for part in _with_parents(name))
    return tuple(dict.fromkeys(name for name in ours if name in _names()))


def _named(node: ast.AST) -> Iterator[str]:
    """What an import statement names; a name that is imported from a package may be a module of it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        yield node
        yield from _executed(node)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


@cache
def _names() -> Mapping[str, Path]:
    """The file of each module of ours, by its dotted name."""
    found = {}
    for root, folder in _ROOTS.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [root, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def _parsed(module: str) -> ast.Module:
    return _tree(module)


def _tree(module: str) -> ast.Module:
    """The syntax tree of a module, read anew.

    Tried again: Python 3.11 raises SystemError where another thread makes a tree at the same time
    (https://github.com/python/cpython/issues/106905).
    """
    source = _names()[module].read_bytes()
    for _ in range(_TRIES):
        with suppress(SystemError):
            return ast.parse(source)
        time.sleep(_PAUSE_S)
    return ast.parse(source)


def _digest(modules: Collection[str]) -> str:
    """Over the syntax of modules, and the templates and tables that lie beside them."""
    folders = {_names()[module].parent for module in modules}
    return digest_of(
        {
            "modules": {module: _syntax(module) for module in sorted(modules)},
            "data": {name: digest_file(file) for name, file in _data(folders).items()},
        }
    )


def _data(folders: Collection[Path]) -> dict[str, Path]:
    """Templates and tables in `folders`, packages, and in folders below them that are no packages; by path."""
    return {
        file.relative_to(root.parent).as_posix(): file
        for root in _ROOTS.values()
        for file in sorted(f for f in root.rglob("*") if f.suffix in _DATA)
        if next(p for p in file.parents if (p / "__init__.py").is_file()) in folders
    }


@cache
def _syntax(module: str) -> str:
    """SHA-256 of a module's syntax tree without docstrings and positions."""
    tree = _tree(module)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
