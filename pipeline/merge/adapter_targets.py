"""Which changes of a merge an adapter can carry, as what, and which are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from pipeline.errors import InputError
from pipeline.merge.chat_templates import resolve_chat_template
from pipeline.merge.names import is_input_embedding
from pipeline.merge.operands import StepOperands
from pipeline.merge.plan import Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.merge.weights import Weights
from pipeline.sources.reference import Reference

Kind = Literal["linear", "transposed", "embedding", "leaf", "nested"]
_SHOWN = 8
_FULL = "Merge into a full model instead"


@dataclass(frozen=True)
class Module:
    """A module of the model: what it is, and the names of its own parameters.

    "linear" weights are [out, in]; "transposed" ones are linear and [in, out]. Of the rest, a "leaf" has no
    modules in it.
    """

    kind: Kind
    parameters: tuple[str, ...]


@dataclass
class Targets:
    """The parts of an adapter, each by module path: low-rank changes, and modules saved whole by parameter."""

    low_rank: dict[str, tuple[Step, Kind]] = field(default_factory=dict)
    whole: dict[str, dict[str, Step]] = field(default_factory=dict)

    @property
    def transposed(self) -> bool:
        """Whether linear layers are stored [in, out]."""
        return any(kind == "transposed" for _, kind in self.low_rank.values())


def find_targets(plan: Plan, base: Weights) -> Targets:
    """Where each change of the merge goes.

    Weights of linear layers and tables of embeddings become low-rank changes. Parameters of other modules, such
    as norms, are saved whole: PEFT puts them in place with the adapter and takes them out with it. So is a table
    that embeddings and head share, under both names, since a low-rank change of one end leaves the other as it is.
    Raises InputError for what PEFT could not load or not take out again.
    """
    modules, head = _modules(base.model.folder)
    steps, faults, targets = {step.name: step for step in plan.steps}, [], Targets()
    with Reader() as reader:
        changed = [step for step in plan.steps if _changes(plan, step, reader)]
    for step in changed:
        path, _, part = step.name.rpartition(".")
        module = modules.get(path)
        if module is None or part not in module.parameters:
            faults.append(_unknown(step.name))
        elif base.model.tied and is_input_embedding(step.name):
            targets.whole |= {place: {part: step} for place in (path, head) if place}
        elif module.kind == "leaf" and part in ("weight", "bias"):
            names = {p: f"{path}.{p}" for p in module.parameters}
            faults += [_unknown(name) for name in names.values() if name not in steps]
            targets.whole[path] = {p: steps[name] for p, name in names.items() if name in steps}
        elif module.kind in ("linear", "transposed", "embedding") and part == "weight":
            targets.low_rank[path] = (step, module.kind)
        else:
            faults.append(_no_place(step.name))
    faults += _mixed(targets)
    if faults:
        raise InputError.of([*faults[:_SHOWN], *_more(len(faults) - _SHOWN)])
    if not targets.low_rank:
        raise InputError(f"{plan.recipe.where}: {_nothing(changed)}")
    return targets


def base_of(plan: Plan) -> Weights:
    """The model that the adapter goes over: the one base of all differences.

    Raises InputError that lists all in the recipe that an adapter over it cannot express.
    """
    bases = {step.base.weights.reference: step.base.weights for step in plan.steps if step.base}
    if not bases:
        raise InputError(
            f"{plan.recipe.where}: {plan.recipe.merge_method} merges whole tensors, "
            "and an adapter holds differences from a base. "
            f"{_FULL}, or use a method on differences, such as task_arithmetic."
        )
    base = next(iter(bases.values()))
    if faults := [f"{plan.recipe.where}: {fault}" for fault in _recipe_faults(plan, base, bases)]:
        raise InputError.of(faults)
    return base


def _recipe_faults(plan: Plan, base: Weights, bases: Mapping[Reference, Weights]) -> Iterator[str]:
    if len(bases) > 1:
        names = ", ".join(sorted(map(str, bases)))
        yield f"has the bases {names}; an adapter has one. {_FULL}, or name one base."
    if base.adapter:
        yield (
            f"the base {base.reference} has an adapter itself, and only one can be loaded. "
            "Name the base without it, or merge it into the base first."
        )
    if plan.vocabulary:
        yield f"tokenizer changes the vocabulary, and an adapter keeps its base's. {_FULL}."
    template = resolve_chat_template(plan.recipe, plan.weights)
    if template not in (None, base.model.chat_template):
        yield (
            "chat_template is not that of the base, and an adapter is served with its base's. "
            f"{_FULL}, or leave chat_template out."
        )
    places = {step.name: step.base.name for step in plan.steps if step.base}
    if len(bases) == 1 and (
        any(name != of for name, of in places.items())
        or {step.name for step in plan.steps} != set(base.tensors)
    ):
        yield f"its slices move or leave out layers, and an adapter keeps its base's. {_FULL}."


def _changes(plan: Plan, step: Step, reader: Reader) -> bool:
    """Whether any source differs from the base in this tensor, and has a say in it."""
    if step.base is None or all(step.base.same_bytes(operand) for operand in step.operands):
        return False
    silent = not any(step.settings.get("weight", (1,))) or step.settings.get("lambda_", 1) == 0
    if silent and plan.recipe.method.operands == "deltas":
        return False
    with torch.inference_mode():
        blocks = StepOperands(plan, step, reader, Scratch()).blocks()
        return any(bool(operand.any()) for block in blocks for operand in block.operands)


def _modules(folder: Path) -> tuple[Mapping[str, Module], str | None]:
    """Every module with parameters of its own, as transformers builds the model, and the path of its head.

    Only this tells a linear layer from another matrix, and which way round it is stored. No weights are
    made.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    kinds: tuple[tuple[type, Kind], ...] = (
        (torch.nn.Linear, "linear"),
        (Conv1D, "transposed"),
        (torch.nn.Embedding, "embedding"),
    )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # a config.json may make it fail in any way
        raise InputError(
            f"{folder}: transformers cannot build this model ({error!s:.200}), "
            f"so its linear layers cannot be told. {_FULL}."
        ) from error
    head = network.get_output_embeddings()
    found, place = {}, None
    for path, module in network.named_modules():
        place = path if module is head else place
        if own := tuple(name for name, _ in module.named_parameters(recurse=False)):
            rest: Kind = "nested" if next(module.children(), None) else "leaf"
            kind = next((kind for of, kind in kinds if isinstance(module, of)), rest)
            found[path] = Module(kind, own)
    return found, place


def _mixed(targets: Targets) -> Iterator[str]:
    linear = [path for path, (_, kind) in targets.low_rank.items() if kind == "linear"]
    if linear and targets.transposed:
        yield (
            f"{linear[0]}.weight: is stored [out, in], and other linear layers [in, out]; "
            f"an adapter has one setting for all. {_FULL}."
        )


def _unknown(name: str) -> str:
    return (
        f"{name}: changes, but the model that transformers builds from config.json has no such "
        f"parameter, so PEFT would not load it. {_FULL}, or save the base again with transformers."
    )


def _no_place(name: str) -> str:
    what = "a bias of a linear layer" if name.endswith(".bias") else "this kind of parameter"
    return (
        f"{name}: changes, and an adapter that can be taken out again has no place for {what}. "
        f"{_FULL}, or keep the base's: `weight: [{{filter: {name}, value: 0}}, {{value: ...}}]`."
    )


def _nothing(changed: list[Step]) -> str:
    if changed:
        return (
            f"changes no linear layer, so there is nothing for an adapter to approximate. {_FULL}."
        )
    return "changes no tensor of the base, so there is nothing to write."


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"... and {count} more."
