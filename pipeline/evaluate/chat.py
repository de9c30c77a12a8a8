"""How a prompt reaches a model: the chat template over [system, user], with the generation prompt
added.

lm-eval renders its requests in the same way, so that what is timed and calibrated is what is
scored.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError


def messages(system: str, prompt: str) -> list[dict[str, str]]:
    """The conversation of one prompt; an empty `system` leaves the system message out."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": prompt}]


def render(tokenizer: Any, system: str, prompt: str) -> str:
    """The text that the model continues. Raises InputError where the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: has no chat template, so prompts cannot be rendered. "
            "Add chat_template.jinja to the model, or set chat_template in the recipe."
        )
    return str(
        tokenizer.apply_chat_template(
            messages(system, prompt), tokenize=False, add_generation_prompt=True
        )
    )


def token_ids(tokenizer: Any, system: str, prompt: str) -> list[int]:
    """The ids of the rendered prompt; special tokens come from the template alone."""
    rendered = render(tokenizer, system, prompt)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])
