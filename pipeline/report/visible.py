"""Text of unknown origin made harmless to the eye: what hides, turns or breaks text becomes visible.

Escaping for HTML is the template's work. This is about characters that are valid text and still
mislead: right-to-left overrides, zero-width characters, tags (U+E0000), control characters.
"""

from __future__ import annotations

import unicodedata

# Control, format, surrogate, private use; line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_KEPT = frozenset("\n\t")
_SELECTORS = range(0xE0100, 0xE01F0)  # variation selectors 17 to 256, which carry hidden bytes


def visible(text: str) -> str:
    """`text` with each hidden character as ⟨U+202E⟩; line feeds and tabs stay, CR LF becomes LF."""
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def cut(text: str, most: int) -> tuple[str, bool]:
    """The first `most` characters of `text`, and whether there were more."""
    return text[:most], len(text) > most


def clipped(text: str, most: int) -> str:
    """`text` in at most `most` characters with «…» for what is left out: for a label in a drawing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def tail(text: str, most: int) -> str:
    """The same from the end, where the telling part of a path is."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def _shown(character: str) -> str:
    if character in _KEPT:
        return character
    hidden = unicodedata.category(character) in _HIDDEN or ord(character) in _SELECTORS
    return f"⟨U+{ord(character):04X}⟩" if hidden else character
