"""The loops of large merges on the CPU, compiled by numba: one pass over memory where torch takes a dozen.

Each does float32 arithmetic in the order of the torch code that it stands for, operation by operation and without
fused multiply-adds, so that both give the same bits. Whoever calls gives flat arrays of one length: float32, or
bfloat16 as the uint16 that it is stored as. A loop works on a chunk of all operands at a time, which stays
in the first-level cache. Compiled machine code is kept on disk by numba (NUMBA_CACHE_DIR).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

_CHUNK = 2048  # entries; even, since two draws come from one output of the generator
_HALF = np.uint32(16)
_ROUND = np.uint32(0x7FFF)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ALL = np.uint64(1 << 32)


def _compiled(function: Any) -> Any:
    """Compiled at first use; without the lock of the interpreter, and with IEEE division."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


def _widen(source: Any, into: Any) -> None:
    """`source` as float32; bfloat16 is the upper half of one."""


@overload(_widen)
def _widen_overload(source: Any, into: Any) -> Any:
    if source.dtype.bitwidth == 16:

        def from_bfloat16(source: Any, into: Any) -> None:
            bits = into.view(np.uint32)
            for i in range(bits.size):
                bits[i] = np.uint32(source[i]) << _HALF

        return from_bfloat16

    def from_float32(source: Any, into: Any) -> None:
        for i in range(into.size):
            into[i] = source[i]

    return from_float32


def _narrow(value: Any, into: Any) -> None:
    """Finite float32 to the type of `into`, rounded to the nearest, ties to even."""


@overload(_narrow)
def _narrow_overload(value: Any, into: Any) -> Any:
    if into.dtype.bitwidth == 16:

        def to_bfloat16(value: Any, into: Any) -> None:
            bits = value.view(np.uint32)
            for i in range(bits.size):
                odd = (bits[i] >> _HALF) & np.uint32(1)
                into[i] = np.uint16((bits[i] + _ROUND + odd) >> _HALF)

        return to_bfloat16

    def to_float32(value: Any, into: Any) -> None:
        for i in range(into.size):
            into[i] = value[i]

    return to_float32


@_compiled
def between(
    source: Any, base: Any, minus: bool, low: Any, width: Any, keep: bool, kept: Any
) -> Any:
    """(magnitudes whose bits are low + width or more, how many lie in [low, low + width)).

    With `keep` the latter minus `low` are put into `kept`, uint32, longer by one than `source`.
    """
    value, known = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    above: Any = 0
    inside: Any = 0
    for at in range(0, source.size, _CHUNK):
        end = min(at + _CHUNK, source.size)
        part, other = value[: end - at], known[: end - at]
        _widen(source[at:end], part)
        if minus:
            _widen(base[at:end], other)
            for i in range(part.size):
                part[i] = abs(part[i] - other[i])
        else:
            for i in range(part.size):
                part[i] = abs(part[i])
        bits = part.view(np.uint32)
        more = np.uint32(0)
        for i in range(bits.size):
            more += np.uint32(bits[i] >= low + width)
        above += more
        if keep:  # without a branch that the processor cannot foresee
            for i in range(bits.size):
                offset = bits[i] - low
                kept[inside] = offset
                inside += np.int64(offset < width)
        else:
            found = np.uint32(0)
            for i in range(bits.size):
                found += np.uint32(bits[i] - low < width)
            inside += found
    return above, inside


@_compiled
def signed_sum(
    sources: Any,
    base: Any,
    minus: bool,
    limits: Any,
    splits: Any,
    keys: Any,
    keeps: Any,
    divisors: Any,
    factors: Any,
    elect: bool,
    weights: Any,
    vanishing: Any,
    scale: Any,
    first: int,
    into: Any,
) -> None:
    """Per entry the sum of the operands times their `factors`; of those that have the elected sign with `elect`.

    `sources`: a tuple of one array per operand; with `minus` an operand is source - base. Of operand j,
    entries before splits[j] with a magnitude of limits[j, 0] or less count as 0, those from there on where it is
    limits[j, 1] or less; a negative limit cuts nothing, an infinite one multiplies by 0. Where keeps[j] is below
    2^32 an entry is multiplied by 0 unless its draw (pipeline.merge.draws; key keys[j], index `first` on) is below
    it, then divided by divisors[j]. With `elect` the sum is divided by that of the `weights` of those that agree (by 1
    where its magnitude is `vanishing` or less; not at all where `vanishing` is negative) and multiplied by `scale`.
    """
    count = len(sources)
    values = np.empty((count, _CHUNK), np.float32)
    known, total = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    sign, divisor = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    draws = np.empty(_CHUNK // 2 + 1, np.uint64)
    zero, one = np.float32(0), np.float32(1)
    for at in range(0, into.size, _CHUNK):
        size = min(_CHUNK, into.size - at)
        other = known[:size]
        result = total[:size] if elect else into[at : at + size]
        if minus:
            _widen(base[at : at + size], other)
        for j in range(count):
            part = values[j][:size]
            _widen(sources[j][at : at + size], part)
            if minus:
                for i in range(size):
                    part[i] -= other[i]
            here = min(max(splits[j] - at, 0), size)
            _cut(part[:here], limits[j, 0])
            _cut(part[here:], limits[j, 1])
            if keeps[j] < _ALL:
                odd = (first + at) & 1
                _draw(keys[j], (first + at) >> 1, draws)
                drawn = draws.view(np.uint32)[odd : odd + size]
                limit = np.uint32(keeps[j])
                for i in range(size):
                    part[i] *= np.float32(drawn[i] < limit)
            divided, factor = divisors[j], factors[j]
            if divided != one:
                for i in range(size):
                    part[i] /= divided
            if j == 0:
                for i in range(size):
                    part[i] *= factor
                    result[i] = part[i]
            else:
                for i in range(size):
                    part[i] *= factor
                    result[i] += part[i]
        if not elect:
            continue
        elected, shared, out = sign[:size], divisor[:size], into[at : at + size]
        for i in range(size):
            elected[i] = -one if result[i] < zero else one
            result[i], shared[i] = zero, zero
        for j in range(count):
            part, weight = values[j][:size], weights[j]
            for i in range(size):
                agreeing = part[i] * elected[i]
                result[i] += zero if agreeing <= zero else agreeing  # NaN stays
                shared[i] += weight if agreeing > zero else zero
        if vanishing >= zero:
            for i in range(size):
                shared[i] = one if abs(shared[i]) <= vanishing else shared[i]
                result[i] /= shared[i]
        for i in range(size):
            out[i] = (result[i] * elected[i]) * scale


@_compiled
def finish(result: Any, base: Any, add: bool, limit: Any, into: Any) -> bool:
    """`into` = result + base (result alone without `add`), rounded once; whether no magnitude is above `limit`.

    NaN is above every limit. Where it is false, `into` holds nothing of use.
    """
    chunk = np.empty(_CHUNK, np.float32)
    for at in range(0, into.size, _CHUNK):
        end = min(at + _CHUNK, into.size)
        part, added = chunk[: end - at], result[at:end]
        if add:
            _widen(base[at:end], part)
            for i in range(part.size):
                part[i] = added[i] + part[i]
        else:
            for i in range(part.size):
                part[i] = added[i]
        fitting = np.uint32(0)
        for i in range(part.size):
            fitting += np.uint32(abs(part[i]) <= limit)
        if fitting < np.uint32(part.size):
            return False
        _narrow(part, into[at:end])
    return True


@njit(nogil=True, error_model="numpy")
def _cut(part: Any, limit: Any) -> None:
    zero = np.float32(0)
    if limit < zero:
        return
    if np.isinf(limit):
        for i in range(part.size):
            part[i] *= zero
    else:
        for i in range(part.size):
            part[i] = zero if abs(part[i]) <= limit else part[i]


@njit(nogil=True, error_model="numpy")
def _draw(key: Any, counter: Any, into: Any) -> None:
    """Outputs of the generator (SplitMix64) for the counters from `counter` on."""
    for i in range(into.size):
        bits = np.uint64(counter + i + 1) * _GAMMA + key
        bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
        bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
        into[i] = bits ^ (bits >> np.uint64(31))
