"""A fuzz target over the reader of safetensors headers, to be run by hand for as long as one likes:

    python tests/fuzz/fuzz_header.py --seconds 600

Good files are changed in their structure and in their bytes. A finding is a file at which `read_header` raises
anything but a refusal, takes more than a second or 200 MB, or accepts what does not account for every byte of it.
The first one is saved, and the run ends with exit code 1. Inputs whose refusal is of a new kind are changed further.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources.tensors import DTYPES, TensorInfo, read_header

MAX_SECONDS, MAX_BYTES = 1.0, 200_000_000
HANGS = 20.0  # seconds after which a run is ended
KEPT = 500  # inputs to begin from
NUMBERS = [0, 1, -1, 2, 7, 8, 255, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**19]
ODD: list[Any] = [*NUMBERS, 10**300, 1.5, -0.0, 1e308, True, None, "", "a", "F32", [], {}, [[]]]
ODD += [[2**32, 2**32, 0], {"dtype": "F32"}, "\ud800", "\x1b[2J", "x" * 600]
PIECES = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud83d", b"1e999", b"NaN"]
PIECES += [b"-Infinity", b"9" * 5000, b"[" * 2000, b'{"a":' * 800, b"\xff", b"\xed\xa0\x80", b" "]
PIECES += [b'"__metadata__":{},', b'"shape":[],', b'"data_offsets":[0,0]', b"\xef\xbb\xbf", b"\0"]
# Taken out of a message, what is left is its kind: names, numbers, lists, all lines but the first.
KIND = re.compile(r"""(['"]).*\1|(dtype|data_offsets|of) .*|[\[{].*|0x\w+|[\d.,]+|\n(?s:.*)""")
Reader = Callable[[Path], tuple[TensorInfo, ...]]


class Hang(BaseException):
    """Raised by the timer inside a run that takes too long."""


class Fuzzer:
    """Makes inputs from a seed and tries a reader with them."""

    def __init__(self, seed: int, folder: Path, reader: Reader = read_header) -> None:
        self.random, self.reader = random.Random(seed), reader
        self.file = folder / "input.safetensors"
        self.file.touch()
        self.corpus = self.fresh = [self.good() for _ in range(50)]
        self.kinds: set[str] = set()
        self.runs = self.accepted = 0
        self.slowest, self.greatest = 0.0, 0

    def step(self) -> str | None:
        """One run: what is wrong with the reader, or None. The input is `self.input`."""
        corpus = self.fresh if self.random.random() < 0.5 else self.corpus
        self.input = self.changed(self.random.choice(corpus))
        with self.file.open("r+b") as stream:  # written over, which is quicker than made anew
            stream.truncate(stream.write(self.input))
        kind, wrong = self.tried(self.file)
        self.runs += 1
        if kind not in self.kinds:
            self.kinds.add(kind)
            self.corpus = [*self.corpus[-KEPT:], self.input]
        return wrong

    def tried(self, file: Path) -> tuple[str, str | None]:
        """The kind of outcome, and what is wrong with it."""
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, HANGS)
        try:
            found, kind = self.reader(file), "accepted"
        except (CorruptArtifactError, InputError) as error:
            found, kind = None, KIND.sub("", str(error).split(": ", 1)[1])
        except Hang:
            return "hang", f"takes more than {HANGS} s"
        except Exception as error:
            return "fault", f"raises {type(error).__name__}: {error!s:.200}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.perf_counter() - start
        size = tracemalloc.get_traced_memory()[1] - before
        self.slowest, self.greatest = max(self.slowest, seconds), max(self.greatest, size)
        if seconds > MAX_SECONDS or size > MAX_BYTES:
            return kind, f"takes {seconds:.2f} s and {size:,} bytes"
        return kind, self.judged(found) if found is not None else None

    def judged(self, found: tuple[TensorInfo, ...]) -> str | None:
        """What is wrong with having accepted the input."""
        self.accepted += 1
        at = 8 + struct.unpack("<Q", self.input[:8])[0]
        for info in found:
            if info.start != at or info.end - at != info.elements * DTYPES[info.dtype][0]:
                return f"accepts {info.name!r} at {info.start}, where {at} is next"
            at = info.end
        return None if at == len(self.input) else f"leaves {len(self.input) - at} bytes over"

    def good(self) -> bytes:
        """A file that is as it should be, of up to six small tensors."""
        header: dict[str, Any] = {}
        end = 0
        if self.random.random() < 0.5:
            header["__metadata__"] = {"format": "pt"}
        for _ in range(self.random.randrange(7)):
            shape = [self.random.randrange(5) for _ in range(self.random.randrange(4))]
            dtype, count = self.random.choice(list(DTYPES)), 1
            for side in shape:
                count *= side
            size = count * DTYPES[dtype][0]
            name = f"layers.{self.random.randrange(100)}.{self.random.choice('abc')}.weight"
            if name not in header:
                spans = [end, end + size]
                header[name] = {"dtype": dtype, "shape": shape, "data_offsets": spans}
                end += size
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(end)

    def changed(self, data: bytes) -> bytes:
        """`data` after a few changes; two thirds of them keep the length in front right."""
        for _ in range(self.random.randrange(4)):
            data = self.random.choice((self.structure, self.structure, self.text, self.bytes))(data)
        return data

    def structure(self, data: bytes) -> bytes:
        """A value of the header, anywhere in it, made another; a change in bytes where there is no header."""
        length = int.from_bytes(data[:8], "little")
        try:
            header = json.loads(data[8 : 8 + length])
            text = json.dumps(self.other(header, 0)).encode()
        except (ValueError, RecursionError):
            return self.text(data)
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    def other(self, value: Any, depth: int) -> Any:
        """A value like this one with one difference, somewhere within."""
        r = self.random
        if isinstance(value, (dict, list)) and value and r.random() < 0.9 - 0.2 * depth:
            copy: Any = value.copy()
            key = r.choice(list(value)) if isinstance(value, dict) else r.randrange(len(value))
            if r.random() < 0.15:
                del copy[key]
            elif isinstance(copy, dict) and r.random() < 0.15:
                copy[r.choice([key + "x", "__metadata__", "", "\ud800", "shape"])] = copy.pop(key)
            elif isinstance(copy, list) and r.random() < 0.2:
                copy.insert(key, r.choice(ODD))
            else:
                copy[key] = self.other(value[key], depth + 1)
            return copy
        if type(value) is int and r.random() < 0.6:
            return value + r.choice([-8, -4, -1, 1, 4, 8, 2**32, 2**63])
        return r.choice(ODD)

    def text(self, data: bytes) -> bytes:
        """Bytes of the header changed; the length in front stays right."""
        length = int.from_bytes(data[:8], "little")
        text = self.spliced(data[8 : 8 + length])
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    def bytes(self, data: bytes) -> bytes:
        """Bytes anywhere changed: cut off, put in, or the length in front made another."""
        if self.random.random() < 0.3:
            return struct.pack("<Q", self.random.choice(NUMBERS) % 2**64) + data[8:]
        return self.spliced(data)

    def spliced(self, data: bytes) -> bytes:
        """`data` with a short run replaced by another, by a piece of JSON, or by nothing."""
        r = self.random
        first = r.randrange(len(data) + 1)
        last = min(len(data), first + r.choice((0, 0, 1, 1, 2, 8, 100)))
        new = r.choice(
            (b"", r.choice(PIECES), r.randbytes(r.randrange(1, 5)), data[first:last] * 2)
        )
        return data[:first] + new + data[last:]


def main() -> int:
    """Fuzz for a while; 1 where there was a finding."""
    parser = argparse.ArgumentParser(description="Fuzz the reader of safetensors headers.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, default=Path(), help="folder for the finding")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(Fuzzer(given.seed, Path(folder)), given.seconds, given.save)


def fuzz(fuzzer: Fuzzer, seconds: float, save: Path) -> int:
    """Step until the time is over or something is found; says in the end how far it came."""
    signal.signal(signal.SIGALRM, _hang)
    tracemalloc.start()
    start, wrong = time.monotonic(), None
    while wrong is None and time.monotonic() - start < seconds:
        wrong = fuzzer.step()
    passed = time.monotonic() - start
    tracemalloc.stop()
    sys.stdout.write(
        f"{fuzzer.runs:,} runs in {passed:.0f} s ({fuzzer.runs / max(passed, 1e-9):,.0f} a second), "
        f"{fuzzer.accepted:,} accepted, {len(fuzzer.kinds)} kinds of outcome, "
        f"slowest {fuzzer.slowest * 1000:.1f} ms, greatest {fuzzer.greatest / 1e6:.1f} MB\n"
    )
    if wrong is None:
        return 0
    file = save / f"finding-{fuzzer.runs}.safetensors"
    file.write_bytes(fuzzer.input)
    sys.stdout.write(f"FOUND: the reader {wrong}; the input is in {file}\n")
    return 1


def _hang(*_: Any) -> None:
    raise Hang


if __name__ == "__main__":
    sys.exit(main())
