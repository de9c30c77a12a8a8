"""The line `registry.uri` of params.yaml, changed in place: comments, order and all other values stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.facts import write_text
from pipeline.plain_yaml import load_yaml
from pipeline.redaction import has_password, redacted


def check_writable_uri(uri: str, path: Path = Path("params.yaml")) -> None:
    """Raise InputError where `uri` may not stand in params.yaml, or no line there can be changed to it."""
    if has_password(uri):
        raise InputError(
            f"--edit: {redacted(uri)} holds a password, and {path} is kept in git. Put the URI into a variable, "
            "and name that: --to env:MLFLOW_TRACKING_URI."
        )
    _changed(path, uri)


def write_uri(uri: str, path: Path = Path("params.yaml")) -> bool:
    """Set registry.uri to `uri`, atomically; False where it is that already. Raises as `check_writable_uri`."""
    text = _changed(path, uri)
    if text == _text(path):
        return False
    file = path.resolve()  # where a link leads
    mode = file.stat().st_mode
    write_text(file, text)
    file.chmod(mode)
    return True


def _changed(path: Path, uri: str) -> str:
    """The text of params.yaml with `uri`; the same text where it has it already."""
    before: dict[str, Any] = load_yaml(path)
    text = _text(path)
    registry = before.get("registry")
    if isinstance(registry, dict) and registry.get("uri") == uri:
        return text
    if "registry" not in before:
        end = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{end}\nregistry:\n  uri: {_scalar(uri)}\n"
    else:
        node = _node(yaml.compose(text, Loader=yaml.SafeLoader), "registry", "uri")
        if node is None:
            raise InputError(
                f"{path}: has no line registry.uri that can be changed. Write it by hand, below "
                f"`registry:`: `uri: {uri}`."
            )
        start, end_of = node.start_mark.index, node.end_mark.index
        changed = f"{text[:start]}{_scalar(uri)}{text[end_of:]}"
    wanted = {**before, "registry": {**(registry or {}), "uri": uri}}
    if _parsed(changed) != wanted:  # an anchor that others refer to, for example
        raise InputError(
            f"{path}: the line registry.uri cannot be changed without changing others. Write it by hand: `uri: {uri}`."
        )
    return changed


def _parsed(text: str) -> Any:
    """The values of a YAML text; None where it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _text(path: Path) -> str:
    """The text, its ends of lines as they are."""
    return path.read_bytes().decode("utf-8")


def _node(node: Any, *keys: str) -> Any:
    """The scalar at `keys` of a YAML document; None where there is none."""
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    return node if isinstance(node, yaml.ScalarNode) else None


def _scalar(text: str) -> str:
    """A text as YAML, quoted where it must be."""
    return yaml.safe_dump(text, width=10_000, default_flow_style=True).partition("\n")[0]
