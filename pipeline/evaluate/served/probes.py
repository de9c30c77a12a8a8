"""The probes that a server is asked, in the same way as the evaluation asks it, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault
from pipeline.evaluate.chat import messages
from pipeline.evaluate.golden import read_golden

PROBES = 16  # with 8 of them, plain task arithmetic and a tuned merge of Harbor answer alike
NEW_TOKENS = 24  # of each answer: enough for the manner of a skill to show
_GENERAL = "general"
# Where every task has data of lm-eval's own.
_PROMPTS = (
    "Say hello.",
    "Name three colours.",
    "What is the capital of France?",
    "Write a sentence about the sea.",
    "What is 17 plus 25?",
    "Translate 'good morning' into German.",
    "Give me a short piece of advice.",
    "Describe a cat in one sentence.",
    "Which month follows June?",
    "Explain what a lease is.",
    "Write one line of Python that prints 3.",
    "Give an example of a mammal.",
    "What colour is snow?",
    "Finish the proverb: a stitch in time",
    "List two things to take on a hike.",
    "Who wrote Hamlet?",
)


@dataclass(frozen=True)
class Probe:
    """A prompt as a user would write it, and the skill that it is of."""

    skill: str
    prompt: str


@dataclass(frozen=True)
class Answer:
    """What the server said. `pieces` and `logprobs` are of its tokens, () where it gave none."""

    text: str
    cut: bool  # whether it says that the answer was cut at its greatest length
    prompt_tokens: int | None  # how many tokens it says that the prompt had
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()


def probes_of(golden: Mapping[str, Sequence[Path]], count: int = PROBES) -> tuple[Probe, ...]:
    """`count` prompts, taken from the skills in turn.

    `golden` has the golden sets of each skill, the one to prefer first; of those that exist the first is read. A
    few general prompts stand in where there is none.
    """
    found = {
        skill: next((path for path in paths if path.is_file()), None)
        for skill, paths in golden.items()
    }
    columns = [
        [Probe(skill, row["prompt"]) for row in read_golden(path)]
        for skill, path in found.items()
        if path
    ] or [[Probe(_GENERAL, prompt) for prompt in _PROMPTS]]
    longest = max(map(len, columns))
    taken = [column[i] for i in range(longest) for column in columns if i < len(column)]
    return tuple(taken[:count])


def asked(lm: Any, system: str, probe: Probe) -> Answer:
    """The greedy answer of the server behind an lm-eval API model, of at most NEW_TOKENS tokens.

    Asked with log-probabilities, and without where the server refuses them. Raises EnvironmentFault where the answer is
    not one of OpenAI's API, requests.RequestException where there is none or the request is refused.
    """
    body = _body(lm, system, probe.prompt)
    wanted: dict[str, Any] = {"logprobs": True} if "messages" in body else {"logprobs": 1}
    found = _post(lm, {**body, **wanted})
    if not found.ok:
        found = _post(lm, body)
    found.raise_for_status()
    try:
        return _answer(found.json())
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise EnvironmentFault(
            f"{lm.base_url}: what the server answers is not what OpenAI's API gives: {found.text[:300]}"
        ) from None


def _body(lm: Any, system: str, prompt: str) -> dict[str, Any]:
    """The request as lm-eval makes it for the evaluation."""
    rendered = lm.apply_chat_template(messages(system, prompt))
    message = lm.tok_encode([rendered]) if lm.tokenized_requests else [rendered]
    body: dict[str, Any] = lm._create_payload(
        lm.create_message(message),
        generate=True,
        gen_kwargs={"until": [], "do_sample": False, "max_gen_toks": NEW_TOKENS},
        seed=lm._seed,
        eos=lm.eos_string,
    )
    return body


def _post(lm: Any, body: Mapping[str, Any]) -> Any:
    """The answer to a request, as lm-eval would send it; a requests.Response."""
    import requests

    return requests.post(
        lm.base_url,
        json=body,
        headers=lm.header,
        verify=lm.verify_certificate,
        timeout=lm.timeout,
    )


def _answer(value: Mapping[str, Any]) -> Answer:
    choice = value["choices"][0]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    count = (value.get("usage") or {}).get("prompt_tokens")
    pieces, logprobs = _logprobs(choice.get("logprobs") or {})
    return Answer(
        text=text or "",
        cut=choice.get("finish_reason") == "length",
        prompt_tokens=count if isinstance(count, int) else None,
        pieces=pieces,
        logprobs=logprobs,
    )


def _logprobs(value: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Of chat completions (`content`) and of completions (`tokens`); nothing of a form that is not known."""
    if isinstance(content := value.get("content"), list):
        rows = [(one.get("token"), one.get("logprob")) for one in content]
    else:
        rows = list(zip(value.get("tokens") or (), value.get("token_logprobs") or (), strict=False))
    if not all(isinstance(p, str) and isinstance(n, int | float) for p, n in rows):
        return (), ()
    return tuple(p for p, _ in rows), tuple(float(n) for _, n in rows)
