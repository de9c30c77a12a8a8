"""Whether a server has the weights that are evaluated: asked probes, and compared with the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.backend import PROBED, Endpoint, is_served
from pipeline.evaluate.chat import token_ids
from pipeline.evaluate.served.failures import in_words, refuse_silence
from pipeline.evaluate.served.probes import NEW_TOKENS, Answer, Probe, asked
from pipeline.evaluate.served.weights import LIMIT, Reading, Token, Weights, every_core
from pipeline.facts import Served
from pipeline.strict import shown

_NEARER = (
    2  # times by which log-probabilities must be nearer to one of two weights than to the other
)
LEAST = 16  # tokens that must have been compared; fewer show nothing
METHOD = f"greedy answers of up to {NEW_TOKENS} tokens, each token read by the weights in float32"


@dataclass(frozen=True)
class Behind:
    """How a variant is served: where, by which probes it is identified, or who vouches for it."""

    probes: tuple[Probe, ...] = ()
    trusted: str = ""
    endpoint: Endpoint | None = None  # of a server that mergegate started
    # The folder of a variant that is nearly the same, by its name: of quantized weights, those that were quantized.
    akin: tuple[str, Path] | None = None


def identified(
    lm: Any,
    backend: str,
    behind: Behind | None,
    *,
    variant: str,
    model: Path,
    adapter: Path | None,
    system: str,
) -> Served | None:
    """How it is known that the server behind `lm` has the weights in the folders `model` and `adapter`.

    None for a backend that loads them itself. Raises InputError where the server answers what the weights would not,
    with the probe, the token and what the weights say; where its log-probabilities are those of `behind.akin`; and
    where the answers are too short to show anything.
    """
    if not is_served(backend):
        return None
    if backend in PROBED:
        refuse_silence(lm)
    if behind is not None and behind.trusted:
        return Served("trusted", by=behind.trusted)
    if behind is None or not behind.probes or backend not in PROBED:
        return Served("unidentified")
    with in_words(backend, "The probes"):
        answers = [asked(lm, system, probe) for probe in behind.probes]
    with every_core():
        weights = Weights(model, adapter)
        prompts = [token_ids(weights.tokenizer, system, probe.prompt) for probe in behind.probes]
        readings = [weights.read(*pair) for pair in zip(prompts, answers, strict=True)]
    seen = [_Seen(*one) for one in zip(behind.probes, prompts, answers, readings, strict=True)]
    told = {number: one.fault(weights) for number, one in enumerate(seen, start=1)}
    if faults := {number: words for number, words in told.items() if words}:
        named = f"{model}+{adapter}" if adapter else f"{model}"
        number = next(iter(faults))
        raise InputError(
            f"{variant}: the server at {lm.base_url} does not have the weights of {named}, or does not use them in the "
            f"same way: {len(faults)} of {len(seen)} probes differ. To probe {number} (of "
            f"{seen[number - 1].probe.skill}) {faults[number]}. Serve these weights with their own chat template; "
            "or, where somebody vouches for the server, name that person: `evaluate.served_by: {trusted: NAME}`."
        )
    served = _served([reading for reading in readings if reading is not None])
    if served.tokens < LEAST:
        raise InputError(
            f"{variant}: the server's answers to {len(answers)} probes have {served.tokens} tokens in all, and {LEAST} "
            "are the least that can show which weights it has. Name the person who vouches for it: "
            "`evaluate.served_by: {trusted: NAME}`."
        )
    if behind.akin is None:
        return served
    with every_core():
        other = Weights(behind.akin[1], None)
        theirs = [other.read(*pair) for pair in zip(prompts, answers, strict=True)]
    own, others = _differences(readings), _differences(theirs)
    if len(own) != len(others) or not own:
        return served
    if _NEARER * mean(others) < mean(own):
        raise InputError(
            f"{variant}: the server at {lm.base_url} has the weights of {behind.akin[1]} ({behind.akin[0]}), not "
            f"those of {model}: its log-probabilities differ from them by {mean(others):.4f} nats on average, and by "
            f"{mean(own):.4f} from these. Serve {model}."
        )
    nearer = _NEARER * mean(own) < mean(others)
    return replace(served, apart_from=behind.akin[0] if nearer else "")


def _differences(readings: Sequence[Reading | None]) -> list[float]:
    return [one for reading in readings if reading for one in reading.differences]


@dataclass(frozen=True)
class _Seen:
    """One probe with all that is known of it."""

    probe: Probe
    prompt: Sequence[int]
    answer: Answer
    reading: Reading | None

    def fault(self, weights: Weights) -> str:
        """Why the answer is not one of the weights, in words; "" where it is."""
        given, ours = self.answer.prompt_tokens, len(self.prompt)
        if given is not None and given != ours:
            return (
                f"it counts {given} tokens in the prompt, and the chat template of the weights makes {ours}: "
                "its template is another one, or it adds tokens of its own"
            )
        if self.reading is None:
            return f"it said {shown(self.answer.text)}, which the tokenizer of the weights cannot write"
        if (fault := self.reading.fault) is not None:
            return self._unlikely(weights, self.reading, fault)
        if not all(one <= LIMIT for one in self.reading.differences):
            return (
                "its log-probabilities differ from those of the weights by up to "
                f"{max(self.reading.differences):.2f} nats, at most {LIMIT:g} allowed"
            )
        return ""

    def _unlikely(self, weights: Weights, reading: Reading, fault: Token) -> str:
        at_end = reading.ended and fault is reading.tokens[-1]
        said = "ended" if at_end else f"said {weights.text(fault.id)!r}"
        return (
            f"it answered {shown(self.answer.text)}; after {shown(weights.before(reading, fault))} it {said} where the "
            f"weights say {weights.text(fault.likeliest)!r}, which is {fault.gap:.2f} nats likelier, at most "
            f"{LIMIT:g} allowed"
        )


def _served(readings: Sequence[Reading]) -> Served:
    tokens = [token for reading in readings for token in reading.tokens]
    differences = _differences(readings)
    return Served(
        identity="checked",
        method=METHOD,
        probes=len(readings),
        tokens=len(tokens),
        agreeing=sum(token.gap == 0 for token in tokens),
        largest_gap=round(max((token.gap for token in tokens), default=0.0), 4),
        limit=LIMIT,
        compared=len(differences),
        largest_difference=round(max(differences, default=0.0), 4),
    )
