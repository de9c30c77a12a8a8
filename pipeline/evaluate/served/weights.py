"""What the weights of a variant say to an answer: each of its tokens judged with the true tokens before it.

Two engines that compute the same weights round differently, so their texts may part where two tokens are nearly as
likely, and from there on say different things. Therefore the answer of the server is not compared with one that is
generated here; its tokens are read by the model, and each must be the likeliest or nearly so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.runtime import memory
from pipeline.evaluate.served.probes import NEW_TOKENS, Answer

# Nats. Measured in docs/evaluation.md: engines of half precision stay below it, other weights do not.
LIMIT = 0.5
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # a character whose last bytes are in the next token
_PACKED = 8  # weights of 4 bits in one number of a tensor that is called packed
_HIDDEN = 3  # tokens by which an answer that was cut may be shorter than asked, since its end does not show


@dataclass(frozen=True)
class Token:
    """One token of an answer: its id, and by how many nats it is less likely than the likeliest."""

    id: int
    gap: float
    likeliest: int
    logprob: float  # nats, of the token itself


@dataclass(frozen=True)
class Reading:
    """An answer as the weights read it."""

    tokens: tuple[Token, ...]
    ended: bool  # whether the last of the tokens is the end of the answer
    differences: tuple[float, ...] = ()  # nats, where the server gave log-probabilities

    @property
    def fault(self) -> Token | None:
        """The first token that the weights would not say."""
        return next((token for token in self.tokens if not token.gap <= LIMIT), None)


class Weights:
    """A variant loaded from its folder, in float32 on the CPU: the server may fill the accelerator."""

    def __init__(self, folder: Path, adapter: Path | None) -> None:
        """Load `folder`, with `adapter` over it. Raises InputError where the memory of the machine is too small."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _check_room(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32
        )
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter)
        self.model: Any = model.eval()
        ends = self.model.generation_config.eos_token_id
        self.ends: tuple[int, ...] = tuple(ends) if isinstance(ends, list) else (ends,)

    def read(self, prompt: Sequence[int], answer: Answer) -> Reading | None:
        """The tokens of `answer` after the token ids of `prompt`; None where the text cannot be tokenised.

        First as the tokenizer splits the text; from the first token on that the weights would not say, by the tokens
        that they would, for a model may write a text in other tokens than the tokenizer would.
        """
        text = answer.text.rstrip(_BROKEN)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self._text(ids).strip() != text.strip():
            return None
        reading = self._read(prompt, ids, answer)
        if (fault := reading.fault) is None:
            return reading
        other = self._walk(prompt, ids[: reading.tokens.index(fault)], text)
        again = self._read(prompt, other, answer) if other else reading
        return reading if again.fault else again

    def _read(self, prompt: Sequence[int], ids: Sequence[int], answer: Answer) -> Reading:
        """The answer in the tokens `ids`, and its end where it was not cut."""
        tokens = self._forced(prompt, ids)
        differences = self._differences(tokens, answer)
        short = len(ids) + _HIDDEN < NEW_TOKENS
        if ended := short if answer.cut else len(ids) < NEW_TOKENS:
            tokens = [*tokens, self._end(prompt, ids)]
        return Reading(tuple(tokens), ended, differences)

    def text(self, token: int) -> str:
        """A token as text, its name where it is a special one."""
        return str(self.tokenizer.decode([token]))

    def before(self, reading: Reading, fault: Token) -> str:
        """The text of the answer before a token of it."""
        return self._text([token.id for token in reading.tokens[: reading.tokens.index(fault)]])

    def _forced(self, prompt: Sequence[int], ids: Sequence[int]) -> list[Token]:
        """One pass over prompt and answer."""
        if not ids:
            return []
        rows = self._logprobs([*prompt, *ids])[len(prompt) - 1 : -1]
        return [
            Token(token, float(row.max() - row[token]), int(row.argmax()), float(row[token]))
            for token, row in zip(ids, rows, strict=True)
        ]

    def _walk(self, prompt: Sequence[int], begin: Sequence[int], text: str) -> list[int]:
        """The whole text in tokens that the weights would say, one pass a token; [] where there are none.

        With the special tokens that they would say between, which servers do not show.
        """
        ids = list(begin)
        while len(ids) < NEW_TOKENS:
            row = self._logprobs([*prompt, *ids])[-1]
            near = (row >= row.max() - LIMIT).nonzero().flatten().tolist()
            near.sort(key=lambda token: -float(row[token]))
            token = next((one for one in near if self._fits(text, ids, one)), None)
            if token is None or token in self.ends:
                break
            ids.append(token)
        return ids if self._text(ids).strip() == text.strip() else []

    def _fits(self, text: str, ids: Sequence[int], token: int) -> bool:
        """Whether a token goes on with the text, or ends it where it is whole."""
        if token in self.ends:
            return self._text(ids).strip() == text.strip()
        return self._begins(text, [*ids, token])

    def _begins(self, text: str, ids: Sequence[int]) -> bool:
        begun = self._text(ids).rstrip(_BROKEN)
        # A server may leave out white space at both ends.
        return text.lstrip().startswith(begun.lstrip()) or text.strip() == begun.strip()

    def _end(self, prompt: Sequence[int], ids: Sequence[int]) -> Token:
        """The likeliest of the tokens that end an answer, after all others."""
        row = self._logprobs([*prompt, *ids])[-1]
        end = max(
            (e for e in self.ends if e is not None), key=lambda e: float(row[e]), default=None
        )
        if end is None:
            return Token(int(row.argmax()), float("inf"), int(row.argmax()), 0.0)
        return Token(end, float(row.max() - row[end]), int(row.argmax()), float(row[end]))

    def _differences(self, tokens: Sequence[Token], answer: Answer) -> tuple[float, ...]:
        """By how many nats the server's log-probabilities differ, where its tokens are those read here.

        Nothing where all are zero: some servers give those of a greedy choice, which is certain.
        """
        pieces = answer.pieces[: len(tokens)]
        same = len(pieces) == len(tokens) and all(
            piece.strip() == self.text(token.id).strip()
            for piece, token in zip(pieces, tokens, strict=True)
        )
        if not same or not any(answer.logprobs):
            return ()
        pairs = zip(answer.logprobs, tokens, strict=False)
        return tuple(abs(theirs - token.logprob) for theirs, token in pairs)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _logprobs(self, ids: Sequence[int]) -> Any:
        """float32 [tokens, vocabulary]: log-probabilities of what follows each token."""
        import torch

        with torch.inference_mode():
            given = torch.tensor([list(ids)])
            logits = self.model(input_ids=given, attention_mask=torch.ones_like(given)).logits
        return logits[0].float().log_softmax(-1)


@contextmanager
def every_core() -> Iterator[None]:
    """Compute on all cores until the block ends: what is compared within a limit need not repeat bit for bit."""
    import torch

    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_room(folder: Path) -> None:
    """Refuse weights that do not fit into the memory as float32."""
    from safetensors import safe_open

    needed = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                packed = _PACKED if name.endswith("_packed") else 1
                needed += 4 * packed * prod(file.get_slice(name).get_shape())
    if needed > memory():
        raise InputError(
            f"{folder}: {needed / 1e9:.1f} GB as float32, and this machine has {memory() / 1e9:.1f} GB, so what a "
            "server says cannot be compared with these weights here. Use a larger machine, or name the person who "
            "vouches for the server: `evaluate.served_by: {trusted: NAME}`."
        )
