"""Encodings that an injected order may hide in. Every one is plain text, and undone by a patient reader."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable

_LEET = str.maketrans("aeiost", "4310$7")


def _hex(text: str) -> str:
    return text.encode().hex(" ")


def _spaced(text: str) -> str:
    return " ".join(text.replace(" ", "_"))


def _binary(text: str) -> str:
    return " ".join(f"{byte:08b}" for byte in text.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leet": lambda text: text.lower().translate(_LEET),
    "hex": _hex,
    "backwards": lambda text: text[::-1],
    "spaced letters": _spaced,
    "binary": _binary,
}
