"""The objects of a JSON Lines file that anybody may have written: read in blocks, never all at once."""

from __future__ import annotations

import codecs
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.files import open_file

if TYPE_CHECKING:
    from hashlib import _Hash

# A line of lm-eval holds the question, every answer and the arguments: kilobytes, seldom a megabyte.
MAX_LINE = 16 * 2**20
# A million samples need some 400 MB of memory for each side.
MAX_LINES = 1_000_000
_BLOCK = 2**16  # bytes; the objects of a larger one do not fit in a core's cache
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # what escapes a half of a surrogate pair, or both halves


Block = tuple[Sequence[int], list[dict[str, Any]]]  # numbers of lines, from 1, and their objects


def read_blocks(path: Path, seen: _Hash) -> Iterator[Block]:
    """The objects of the file, block by block; `seen` takes up all bytes read.

    Blank lines are passed over, and a byte order mark of UTF-8. NaN and Infinity are read as such:
    to refuse them is for the gate. Raises InputError naming file and line where a line is no
    object, names a key twice or is longer than MAX_LINE bytes, and where there are more than
    MAX_LINES.
    """
    number = 1
    with open_file(path) as stream:
        for text in _texts(path, stream, seen):
            lines = text.split("\n")
            if number + len(lines) - 1 > MAX_LINES:
                raise InputError(
                    f"{path}: more than {MAX_LINES:,} lines; at most so many are read. "
                    "Judge a part of the skills at a time."
                )
            rows = _all_at_once(text, lines)
            if rows is None:
                yield _one_by_one(lines, path, number)
            else:
                yield range(number, number + len(lines)), rows
            number += len(lines)


def _all_at_once(text: str, lines: list[str]) -> list[dict[str, Any]] | None:
    """The object of each line in half the time; None where some line needs a look by itself.

    Lines are joined by a text that no file can know, so none can end in another.
    """
    if _HALF.search(text):
        return None
    try:
        found = _DECODER.decode("[" + f',"{_BETWEEN}",'.join(lines) + "]")
    except (ValueError, RecursionError):
        return None
    rows = found[::2]
    whole = len(rows) == len(lines) and found[1::2] == [_BETWEEN] * (len(lines) - 1)
    return rows if whole and set(map(type, rows)) == {dict} else None


def _one_by_one(lines: list[str], path: Path, first: int) -> Block:
    stripped = ((number, line.strip(" \t\r")) for number, line in enumerate(lines, first))
    found = [(number, _object(line, f"{path}, line {number}")) for number, line in stripped if line]
    return [number for number, _ in found], [row for _, row in found]


def _texts(path: Path, stream: BufferedReader, seen: _Hash) -> Iterator[str]:
    """The file in runs of whole lines, without the line feed at the end of each run."""
    rest, lines, first = b"", 0, True
    while block := stream.read(_BLOCK):
        seen.update(block)
        if first:
            first = False
            if block.startswith(_COMPRESSED):
                raise InputError(f"{path}: compressed; plain text is read. Unpack it first.")
            block = block.removeprefix(codecs.BOM_UTF8)
        whole, feed, rest_of_block = block.rpartition(b"\n")
        if feed:
            yield _decoded(rest + whole, path, lines)
            lines += whole.count(b"\n") + 1
            rest = rest_of_block
        else:
            rest += block
        if len(rest) > MAX_LINE:
            raise InputError(
                f"{path}, line {lines + 1}: longer than {MAX_LINE:,} bytes, the most that a line "
                "may have. Check that this is a JSON Lines file: one object on each line."
            )
    if rest:
        yield _decoded(rest, path, lines)


def _decoded(data: bytes, path: Path, before: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = before + data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 text ({error.reason}). "
            "Save it as UTF-8, or check that this is the right file."
        ) from None


def _object(line: str, where: str) -> dict[str, Any]:
    """The object on a line, without white space around it."""
    try:
        value, end = _DECODER.raw_decode(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not JSON ({error.msg}, at character {error.pos + 1}). "
            "Write one complete object on each line."
        ) from None
    except RecursionError:
        raise InputError(f"{where}: its values are nested too deeply. Write it flatter.") from None
    except _TwiceError as error:
        raise InputError(f"{where}: {error}. Keep one of them.") from None
    except ValueError:  # what Python makes of thousands of digits
        raise InputError(f"{where}: a number of thousands of digits. Shorten it.") from None
    if end != len(line):
        raise InputError(
            f"{where}: something follows the object, at character {end + 1}. "
            "Write one object on each line."
        )
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: {_KINDS[type(value)]}, not an object. "
            "Write one object on each line (`jq -c '.[]'` does so with an array)."
        )
    if _HALF.search(line):
        _refuse_halves(value, where)
    return value


def _refuse_halves(value: dict[str, Any], where: str) -> None:
    """Half of a surrogate pair is no character, and could be written nowhere."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: half of a surrogate pair (\\ud800 to \\udfff), which is no character. "
            "Remove it."
        ) from None


class _TwiceError(ValueError):
    """A key given twice: which of the two values is meant, nobody knows."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"the key {twice!r:.80} is given twice in one object")
    return found


_KINDS = {
    list: "an array",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_BETWEEN = secrets.token_hex(8)
_DECODER = json.JSONDecoder(object_pairs_hook=_once)
