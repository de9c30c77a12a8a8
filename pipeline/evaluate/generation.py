"""Generation with a model from its folder: the likeliest answer, where an answer ends, and how many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.runtime import device, memory

LARGEST_BATCH = 256  # of «auto» on a CPU; more gain nothing there
_SHARE = (
    8  # one eighth of the memory: evaluations may run beside each other, and the weights need room
)
_MEASURED = 16  # longest texts of a skill that are tokenised for the length of its batches
_END = "\N{INVISIBLE SEPARATOR}answer\N{INVISIBLE SEPARATOR}"  # stands for an answer in a template


def load_model(folder: Path) -> Any:
    """The model in `folder`, in evaluation mode on `device()`; never from a pickle."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    return model.to(device()).eval()


def generate(model: Any, prompt: Any, **lengths: int) -> Any:
    """The greedy continuation of `prompt`, with it: both int64 tensors [1, tokens].

    `lengths` are max_new_tokens and min_new_tokens, as transformers takes them.
    """
    import torch

    with torch.inference_mode():
        return model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            **lengths,
        )


def check_decoding(lm: Any, max_new_tokens: int) -> None:
    """Refuse a Hugging Face model whose answers cannot end, or are longer than the model itself."""
    from lm_eval.models.huggingface import HFLM

    if not isinstance(lm, HFLM):
        return
    if lm.model.generation_config.eos_token_id is None:
        raise InputError(
            f"{lm.pretrained}: neither config.json nor generation_config.json has an eos_token_id, "
            "so no answer would end before max_new_tokens. "
            "Add the token that ends an assistant's turn."
        )
    closing = _closing_token(lm.tokenizer)
    if closing is not None and closing not in {*_end_ids(lm), lm.eot_token_id}:
        raise InputError(
            f"{lm.pretrained}: its chat template ends an answer with "
            f"{lm.tokenizer.convert_ids_to_tokens(closing)!r} (token {closing}), which is not among "
            f"the eos_token_id of generation_config.json ({sorted(_end_ids(lm))}), "
            "so every answer would run on to max_new_tokens. Add it there."
        )
    if max_new_tokens >= lm.max_length:
        raise InputError(
            f"params.yaml: evaluate.max_new_tokens is {max_new_tokens}; "
            f"it must be below {lm.max_length}, the model's longest sequence, "
            "to leave room for the prompt."
        )


def _closing_token(tokenizer: Any) -> int | None:
    """The special token that the chat template writes after an answer; None where it writes none."""
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _END}]
    try:
        rest = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_END)[2]
        ids = tokenizer(rest.lstrip(), add_special_tokens=False)["input_ids"]
    except Exception:  # a template is a program; whether it renders the real prompts is seen there
        return None
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else None


def _end_ids(lm: Any) -> set[int]:
    ends = lm.model.generation_config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


@contextmanager
def ended_row_by_row(lm: Any) -> Iterator[None]:
    """Let each answer of lm-eval's Hugging Face backend end by itself, and a batch with its last answer.

    lm-eval stops a batch when one and the same stop text stands in all of its answers, and looks for
    each text, the end token's among them, by decoding every row at every step. Where the end token
    ends generation already, its text need not be looked for; other texts end the row in which they
    stand. What is scored is the same, for an answer is cut at the first stop text in any case.
    """
    from lm_eval.models import huggingface

    if not isinstance(lm, huggingface.HFLM) or lm.think_end_token is not None:
        yield  # of a model that thinks, only what follows the thoughts is cut
        return
    ended = lm.eot_token_id in _end_ids(lm)
    end = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    original = huggingface.stop_sequences_criteria

    def criteria(tokenizer: Any, stop: Sequence[str], begin: int, _: int) -> Any:
        from transformers import StoppingCriteriaList

        texts = [text for text in stop if text and not (ended and text == end)]
        return StoppingCriteriaList([_stop_at(tokenizer, texts, begin)] if texts else [])

    huggingface.stop_sequences_criteria = criteria
    try:
        yield
    finally:
        huggingface.stop_sequences_criteria = original


def _stop_at(tokenizer: Any, texts: Sequence[str], begin: int) -> Callable[..., Any]:
    """A criterion for transformers: bool [batch], where any of `texts` stands at the end of a row's answer.

    `begin` is the length of the prompts in tokens. The end that is decoded is two tokens longer than
    the longest text, for a model may write a text in other tokens than the tokenizer would.
    """
    import torch

    longest = max(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts) + 2

    def stops(tokens: Any, _: Any, **__: Any) -> Any:
        ends = tokenizer.batch_decode(tokens[:, max(begin, tokens.shape[1] - longest) :])
        found = [any(text in end for text in texts) for end in ends]
        return torch.tensor(found, dtype=torch.bool, device=tokens.device)

    return stops


def fit_batches(lm: Any) -> None:
    """Size the batches of lm-eval's Hugging Face backend to the memory, for each skill anew."""
    for name, every_token in (
        ("generate_until", False),
        ("loglikelihood", True),
        ("loglikelihood_rolling", True),
    ):
        setattr(lm, name, Fitted(lm, getattr(lm, name), every_token))


@dataclass(frozen=True)
class Fitted:
    """One method of lm-eval's Hugging Face backend, with batches sized to its requests."""

    lm: Any
    method: Callable[..., Any]
    every_token: bool

    def __call__(self, requests: Sequence[Any], **options: Any) -> Any:
        self.fit(requests)
        return self.method(requests, **options)

    def fit(self, requests: Sequence[Any]) -> None:
        """Size the batches so that the longest of `requests` fits."""
        lm = self.lm
        tokens = min(_longest(lm, [request.args for request in requests]), lm.max_length)
        lm.batch_size_per_gpu = batch_that_fits(
            lm.model.config,
            lm.model.dtype.itemsize,
            tokens,
            memory(),
            every_token=self.every_token,
        )


def _longest(lm: Any, arguments: Sequence[Sequence[Any]]) -> int:
    """Tokens of the longest request: prompt and, where it is generated, the longest answer."""
    texts = ("".join(a for a in args if isinstance(a, str)) for args in arguments)
    answers = (
        a.get("max_gen_toks", lm.max_gen_toks)
        for args in arguments
        for a in args
        if isinstance(a, dict)
    )
    longest = nlargest(_MEASURED, texts, key=len)
    return max(len(lm.tok_encode(text)) for text in longest) + max(answers, default=0)


def batch_that_fits(
    config: Any, element: int, tokens: int, bytes_free: int, *, every_token: bool
) -> int:
    """How many sequences of `tokens` tokens to compute together: a power of two from 1 to LARGEST_BATCH.

    An eighth of `bytes_free` holds their keys and values, the values between two layers and the
    logits, of which a model that generates makes one row a sequence, and a model that scores given
    text (`every_token`) one for every token, twice. `element` is the bytes of one weight. Depends on
    no other load of the machine, so that two runs make the same batches.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    cached = 2 * text.num_hidden_layers * heads * head * element
    between = (4 * text.hidden_size + 2 * inner) * 4
    logits = text.vocab_size * 4 * (2 * tokens if every_token else 1)
    fitting = bytes_free // _SHARE // (tokens * (cached + between) + logits)
    return 1 << (max(1, min(fitting, LARGEST_BATCH)).bit_length() - 1)
