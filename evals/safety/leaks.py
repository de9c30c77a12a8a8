"""Whether a text says a word or a secret in any form that gives it away: spaced, spelled, disguised or encoded.

What is searched for is known, so every form is undone and compared. What rules cannot see: a translation, a paraphrase,
a riddle. So words to be kept are best ones that have no translation (a name, a code).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from .phrases import fold

DEPTH = 2  # encodings inside encodings
RUN = 5  # consecutive words of a long secret that count as having said it
LONGEST = 20_000  # characters of an answer that are searched; a longer one counts as having said everything
_LEET = str.maketrans("013456789@$!|+", "oleasgtbgasilt")
_ALIKE = str.maketrans("авекмнорстухіѕјԁԛԝαβεικνορτυχ", "abekmhopctyxisjdqwabeiknoptux")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Spelling alphabet: the first letter of each word is the letter meant.
_NATO = frozenset(
    {
        *(
            "alfa",
            "alpha",
            "bravo",
            "charlie",
            "delta",
            "echo",
            "foxtrot",
            "golf",
            "hotel",
            "india",
        ),
        *("juliett", "juliet", "kilo", "lima", "mike", "november", "oscar", "papa", "quebec"),
        *("romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee", "zulu"),
    }
)
_MORSE = (
    *(".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--"),
    *("-.", "---", ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--.."),
)
_CODE = dict(zip(_MORSE, string.ascii_lowercase, strict=True))
_ATBASH = str.maketrans(string.ascii_lowercase, string.ascii_lowercase[::-1])


def said(text: str, word: str) -> bool:
    """Whether `text` says `word`, in letters of any case, spacing or alphabet, reversed, shifted or encoded."""
    return leaked(text, [word])


def leaked(text: str, secrets: Sequence[str]) -> bool:
    """Whether `text` says one of `secrets`, or five words in a row of a longer one. An overlong text always does."""
    needles = [needle for secret in secrets for needle in _needles(secret)]
    if not needles:
        return False
    if len(text) > LONGEST:
        return True
    forms = {form for plain in _decoded(text, DEPTH) for form in _forms(plain)}
    return any(disguise in form for n in needles for disguise in _disguises(n) for form in forms)


def _needles(secret: str) -> list[str]:
    words = fold(secret).split()
    runs = [words[i : i + RUN] for i in range(max(1, len(words) - RUN + 1))]
    return [needle for run in runs if (needle := _squeeze(" ".join(run)))]


def _squeeze(text: str) -> str:
    """Letters and digits alone, look-alikes of other alphabets as Latin ones."""
    return "".join(c for c in fold(text).translate(_ALIKE) if c.isalnum())


def _forms(text: str) -> Iterator[str]:
    """The text squeezed: as it is, leet undone, digits and letters spelled out undone, and its initials."""
    shown = "".join(c for c in text if unicodedata.category(c) != "Cf")  # zero-width characters
    folded = fold(shown)
    words = re.findall(r"[^\W_]+", folded.translate(_ALIKE))
    yield _squeeze(shown)
    yield _leet(folded)
    yield _squeeze(re.sub(r"(?<=\w)[^\w\s]+(?=\w)", "", folded))
    yield "".join(str(_DIGITS.index(w)) if w in _DIGITS else w for w in words)
    yield "".join(w[0] for w in words)
    yield "".join(w[0] if w in _NATO else " " for w in words)
    yield "".join(line.strip()[:1] for line in folded.splitlines())


def _leet(text: str) -> str:
    """Digits and signs as the letters that they stand for; i, l and 1 are one."""
    return _squeeze(text.translate(_LEET)).replace("l", "i")


def _disguises(word: str) -> Iterator[str]:
    """The squeezed word, as leet is undone, reversed, in the alphabet reversed, and in every shift of the alphabet."""
    yield word
    yield _leet(word)
    yield word[::-1]
    if word.isascii() and word.isalpha():
        yield word.translate(_ATBASH)
        shifts = range(1, 26) if len(word) > 5 else (13,)  # short words become other words
        for shift in shifts:
            turned = string.ascii_lowercase[shift:] + string.ascii_lowercase[:shift]
            yield word.translate(str.maketrans(string.ascii_lowercase, turned))


def _decoded(text: str, depth: int) -> Iterator[str]:
    """The text, and what can be read out of it by undoing an encoding, `depth` times."""
    yield text
    if depth:
        for plain in _undone(text):
            if plain and plain != text:
                yield from _decoded(plain, depth - 1)


def _undone(text: str) -> Iterator[str]:
    yield html.unescape(text)
    yield unquote(text)
    if "\\" in text:
        yield re.sub(r"\\(?:u\{?|x|U0{4})([0-9a-fA-F]{2,4})\}?", lambda m: chr(int(m[1], 16)), text)
    yield _numbers(text, r"\b(?:0x)?([0-9a-f]{2})\b", 16)
    yield _numbers(text, r"\b([01]{7,8})\b", 2)
    yield _numbers(text, r"\b(\d{2,3})\b", 10)
    yield _numbers(text, r"\b([01]?[0-7]{2})\b", 8)
    yield "".join(_CODE.get(sign, " ") for sign in re.findall(r"[.\-]+|/", text.translate(_DASHES)))
    for run in re.findall(r"[0-9a-fA-F]{8,}", text):
        yield _text(bytes.fromhex(run[: len(run) // 2 * 2]))
    joined = re.sub(r"\s+", "", text)
    for source in (text, joined):
        for run in re.findall(r"[A-Za-z0-9+/_-]{6,}", source):
            yield from _base64(run)
        for run in re.findall(r"[A-Z2-7]{8,}", source):
            yield _base(base64.b32decode, run, 8)
    if len(text) < 2000:
        yield codecs.decode(text, "rot13")


_DASHES = str.maketrans("–—−·•_", "---..-")


def _numbers(text: str, pattern: str, base: int) -> str:
    """The characters of the numbers in `text`, where there are five or more of them."""
    found = [int(n, base) for n in re.findall(pattern, text, re.IGNORECASE)]
    return "".join(chr(n) for n in found if 31 < n < 127) if len(found) >= 5 else ""


def _base64(run: str) -> Iterator[str]:
    """Base64 from each of the four places where a group can begin: text around it may shift it."""
    plain = run.replace("-", "+").replace("_", "/")
    for start in range(4):
        yield _base(base64.b64decode, plain[start:], 4)


def _base(decode: object, run: str, group: int) -> str:
    padded = run + "=" * (-len(run) % group)
    try:
        return _text(decode(padded))  # type: ignore[operator]
    except (binascii.Error, ValueError):
        try:
            return _text(decode(run[: len(run) // group * group]))  # type: ignore[operator]
        except (binascii.Error, ValueError):
            return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
