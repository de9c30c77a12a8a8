"""The output vocabulary of a recipe with `tokenizer`, and the rows of each model in its order.

A row without a token (padding of the table) counts as a token that is named by its id, so that it
is carried along like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.names import is_input_embedding
from pipeline.merge.weights import Weights
from pipeline.recipe.types import Recipe, Tokenizer
from pipeline.sources.reference import Reference
from pipeline.sources.tokenizer import tokenizer_facts

Token = str | int  # its text, or the id of a row that has none
Table = Mapping[Token, int]  # token -> row


@dataclass(frozen=True)
class Vocabulary:
    """The output's tokens by row, and where each model has them."""

    tokens: tuple[Token, ...]
    tables: Mapping[Reference, Table]
    origin: Reference  # the model whose tokenizer files the output takes
    base: Reference
    new: tuple[str, ...]  # tokens that the origin's tokenizer lacks
    tokenizer: Tokenizer

    @property
    def rows(self) -> int:
        """The number of rows of embeddings and head."""
        return len(self.tokens)

    @property
    def keeps_rows(self) -> bool:
        """Whether every model has its rows in the output's order already, so that none moves."""
        identity = {token: row for row, token in enumerate(self.tokens)}
        return not self.tokenizer.tokens and all(t == identity for t in self.tables.values())

    def remap(
        self, span: range, models: Sequence[Weights], read: Callable[[Weights, Tensor], Tensor]
    ) -> dict[Weights, Tensor]:
        """Each model's values for the output rows `span`: float32 [rows, columns].

        `read` gives the rows of a model's own tensor by their ids (int64 [rows]; zeros for an id of -1). A
        token that a model lacks: the row that the recipe names, else the base's, else the mean of the
        owners' (with one owner: that row), else zero.
        """
        rows = {w: self._ids(w.reference)[span.start : span.stop] for w in models}
        own = {w: read(w, rows[w]) for w in models}
        default = self._default(own, rows)
        forced = torch.zeros(len(span), dtype=torch.bool)
        for row, value, force in self._ruled(span, models, read, default):
            default[row - span.start] = value
            forced[row - span.start] = force
        return {w: _where((rows[w] >= 0) & ~forced, own[w], default) for w in models}

    @cached_property
    def _row(self) -> Mapping[Token, int]:
        return {token: row for row, token in enumerate(self.tokens)}

    @cached_property
    def _known_ids(self) -> dict[Reference, Tensor]:
        return {
            reference: torch.tensor([table.get(token, -1) for token in self.tokens])
            for reference, table in self.tables.items()
        }

    def _ids(self, reference: Reference) -> Tensor:
        """For each output row the model's row, -1 where it has none. int64 [output rows]."""
        return self._known_ids[reference]

    def _default(self, own: Mapping[Weights, Tensor], rows: Mapping[Weights, Tensor]) -> Tensor:
        some = next(iter(own.values()))
        total, owners = torch.zeros_like(some), torch.zeros(some.shape[0], 1)
        for weights, value in own.items():
            total += value  # zero where it has no row
            owners += (rows[weights] >= 0).view(-1, 1)
        mean = total / owners.clamp(min=1)
        for weights, value in own.items():
            if weights.reference == self.base:
                return _where(rows[weights] >= 0, value, mean)
        return mean

    def _ruled(
        self,
        span: range,
        models: Sequence[Weights],
        read: Callable[[Weights, Tensor], Tensor],
        like: Tensor,
    ) -> Iterator[tuple[int, Tensor, bool]]:
        """(output row, its value, whether forced) for each token in `span` that the recipe speaks of."""
        of = {weights.reference: weights for weights in models}
        for token, rule in self.tokenizer.tokens.items():
            row = self._row[token]
            if rule.row is None or row not in span:
                continue
            model, wanted = rule.row.model, rule.row.token
            value = torch.zeros_like(like[0])
            if model in of:
                at = self._row_of(model, token if wanted is None else wanted)
                value = read(of[model], torch.tensor([at]))[0]
            yield row, value, rule.force

    def _row_of(self, model: Reference, token: Token) -> int:
        if isinstance(token, int):
            return token
        return self.tables[model][token]


def make_vocabulary(recipe: Recipe, weights: Mapping[Reference, Weights]) -> Vocabulary | None:
    """The vocabulary that the recipe asks for; None where it asks for nothing.

    Raises InputError where a model has no tokenizer.json, or lacks a token that a rule names.
    """
    if recipe.tokenizer is None:
        return None
    settings = recipe.tokenizer
    base = recipe.references()[0]
    origin = settings.source if isinstance(settings.source, Reference) else base
    tables = {reference: _table(w) for reference, w in weights.items()}
    _check_rules(recipe, tables)
    new = _new_tokens(settings, tables, origin)
    tokens = _ordered(tables[origin], new, settings.pad_to_multiple_of or 1)
    return Vocabulary(tokens, tables, origin, base, new, settings)


def _table(weights: Weights) -> Table:
    facts = tokenizer_facts(weights.model.folder)
    if facts is None or not (facts.vocabulary or facts.added):
        raise InputError(
            f"{weights.reference}: has no tokenizer.json, "
            "from which the recipe's tokenizer could be made. "
            "Save it with transformers' fast tokenizer, or leave tokenizer out."
        )
    rows = next((i.shape[0] for n, i in weights.tensors.items() if is_input_embedding(n)), 0)
    if not rows:
        raise InputError(
            f"{weights.reference}: none of its tensors is known as the table of token embeddings, "
            "so the recipe's tokenizer cannot be applied. Leave tokenizer out."
        )
    named = {**facts.vocabulary, **facts.added}
    table: dict[Token, int] = {t: row for t, row in named.items() if 0 <= row < rows}
    taken = set(table.values())
    table.update({row: row for row in range(rows) if row not in taken})
    return table


def _new_tokens(
    settings: Tokenizer, tables: Mapping[Reference, Table], origin: Reference
) -> tuple[str, ...]:
    """Tokens to append to the origin's, in the order of models and of their ids there."""
    found: dict[str, None] = {}
    if settings.source == "union":
        for table in tables.values():
            ordered = sorted(table.items(), key=lambda item: item[1])
            found.update({token: None for token, _ in ordered if isinstance(token, str)})
    found.update(dict.fromkeys(settings.tokens))
    return tuple(token for token in found if token not in tables[origin])


def _ordered(table: Table, new: tuple[str, ...], multiple: int) -> tuple[Token, ...]:
    """The origin's tokens in place, new ones after the last of them, then its rows without token."""
    by_row = {row: token for token, row in table.items()}
    first = 1 + max((row for token, row in table.items() if isinstance(token, str)), default=-1)
    by_row.update({first + index: token for index, token in enumerate(new)})
    count = -(-(max(by_row, default=-1) + 1) // multiple) * multiple
    return tuple(by_row.get(row, row) for row in range(count))


def _check_rules(recipe: Recipe, tables: Mapping[Reference, Table]) -> None:
    faults = []
    for token, rule in recipe.tokenizer.tokens.items() if recipe.tokenizer else ():
        model = rule.row.model if rule.row else None
        wanted = token if rule.row is None or rule.row.token is None else rule.row.token
        known = tables[model] if model else {}
        if model and (
            wanted not in known.values() if isinstance(wanted, int) else wanted not in known
        ):
            faults.append(
                f"{recipe.where}: tokenizer.tokens[{token!r}] takes the row of {wanted!r} "
                f"from {model}, which has no such token. Name a model that has it."
            )
    if faults:
        raise InputError.of(faults)


def _where(mask: Tensor, value: Tensor, other: Tensor) -> Tensor:
    """Row by row: `value` where `mask` [rows], else `other`."""
    return torch.where(mask.view(-1, 1), value, other)
