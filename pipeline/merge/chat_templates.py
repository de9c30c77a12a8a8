"""The chat template of the output: the sources' own, the one most of them share, or one by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from pipeline.errors import InputError
from pipeline.merge.weights import Weights
from pipeline.recipe.types import Recipe
from pipeline.sources.reference import Reference
from pipeline.strict import nearest

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim }}{{ '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)
# Marks what the assistant says, for training; known to transformers and not to Jinja.
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
# Mistral has no system role: its text goes before that of the first user message.
_MISTRAL = (
    "{% set lead = namespace(text='') %}{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set lead.text = message['content'] + '\\n\\n' %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '[INST] ' + lead.text + message['content'] + ' [/INST]' }}{% set lead.text = '' %}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
_ALPACA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
)
_EXAONE = (
    "{% for message in messages %}"
    "{{ '[|' + message['role'] + '|]' + message['content'] }}"
    "{{ '\\n' if message['role'] == 'user' else '[|endofturn|]\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)
# Written from the published prompt format of each family.
NAMED: Mapping[str, str] = {
    "alpaca": _ALPACA,
    "chatml": _CHATML,
    "exaone": _EXAONE,
    "llama3": _LLAMA3,
    "mistral": _MISTRAL,
}


def resolve_chat_template(recipe: Recipe, weights: Mapping[Reference, Weights]) -> str | None:
    """The Jinja text that the recipe asks for; None where it leaves the template as it is.

    "auto" is the template that most models of the recipe have, the earlier one where two are equal.
    Raises InputError for a name that is not known, and for "auto" where no model has one.
    """
    asked = recipe.chat_template
    if asked is None:
        return None
    if asked in NAMED:
        return NAMED[asked]
    if asked == "auto":
        return _most_common(recipe, weights)
    if "{" in asked:
        _check_syntax(asked, recipe.where)
        return asked
    raise InputError(
        f"{recipe.where}: recipe.chat_template is {asked!r}, which is neither the name of a "
        f"template nor a Jinja text.{nearest(asked, ('auto', *NAMED))}"
    )


def _check_syntax(template: str, where: str) -> None:
    """Raise InputError where a template is no Jinja; the tags are those that transformers knows."""
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    plain = _GENERATION.sub("", template)
    try:
        environment.parse(plain)
    except TemplateSyntaxError as error:
        raise InputError(
            f"{where}: recipe.chat_template is no Jinja template: {error.message} (line {error.lineno}). "
            "Mend it, or name a template."
        ) from None


def _most_common(recipe: Recipe, weights: Mapping[Reference, Weights]) -> str:
    texts = Counter(t for w in weights.values() if (t := w.model.chat_template) is not None)
    if not texts:
        raise InputError(
            f"{recipe.where}: recipe.chat_template is auto, but no model of the recipe has one. "
            "Name a template or give its text."
        )
    return texts.most_common(1)[0][0]
