"""Encodings that an injected order may hide in. Every one is plain text, and undone by a patient reader.

Binary digits are not among them: they make a line eight times as long, too long for a short context.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable

_LEET = str.maketrans("aeiost", "4310$7")


def _hex(text: str) -> str:
    return text.encode().hex(" ")


def _spaced(text: str) -> str:
    return " ".join(text.replace(" ", "_"))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leet": lambda text: text.lower().translate(_LEET),
    "hex": _hex,
    "backwards": lambda text: text[::-1],
    "spaced letters": _spaced,
}
