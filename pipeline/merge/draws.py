"""Random draws by counter: the draw for an element depends on its key and its index alone.

So threads, tile sizes, the order of tensors and the device cannot change a result. The generator is
SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014), whose
output for counter i is a mix of key + (i + 1) * GAMMA modulo 2^64. torch has no unsigned arithmetic
on 64 bits; its signed products and sums wrap, which gives the same bits.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_TILE = 32_768  # so many draws, with what they are made from, stay in the cache
_GAMMA = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def draw_key(seed: int, model: str, tensor: str) -> int:
    """The 64-bit key of one model's tensor: the head of SHA-256 over seed, model and tensor name."""
    text = f"{seed}\0{model}\0{tensor}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def random_bits(key: int, count: int, first: int = 0) -> Tensor:
    """The draws of elements first .. first + count - 1 as int64 [count]; read them as unsigned."""
    index = torch.arange(first + 1, first + count + 1, dtype=torch.int64)
    bits = index.mul_(_signed(_GAMMA)).add_(_signed(key))
    for shift, factor in _MIX:
        bits = (bits ^ _shift_right(bits, shift)).mul_(_signed(factor))
    return bits ^ _shift_right(bits, 31)


def keep_mask(key: int, count: int, density: float) -> Tensor:
    """A boolean mask [count], each entry true with probability `density`, to 2^-53."""
    mask = torch.empty(count, dtype=torch.bool)
    for first in range(0, count, _TILE):
        tile = mask[first : first + _TILE]
        torch.lt(_draws(key, tile.numel(), first), round(density * 2**53), out=tile)
    return mask


def _draws(key: int, count: int, first: int) -> Tensor:
    """As `random_bits`, the upper 53 bits alone: whole numbers in [0, 2^53)."""
    return _shift_right(random_bits(key, count, first), 11)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift as if unsigned: torch's own shift copies the sign bit in."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    """The int64 with the same bits as an unsigned `value` below 2^64."""
    return value - 2**64 if value >= 2**63 else value
