"""The four skills as generators of examples: route a ticket, answer from the policy, reply, answer a question.

A generator takes a random source and returns one example. Each example carries the answer in two forms: `plain`, as
the base gives it, and `polished`, as the expert of that skill does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from examples.harbor import world


@dataclass(frozen=True)
class Example:
    """One prompt with its answers. `slots` decide the split: equal slots always fall into the same one."""

    slots: tuple[object, ...]
    prompt: str
    plain: str
    polished: str
    target: Any  # what the metric compares with
    category: str
    extra: Mapping[str, Any] = field(default_factory=dict)  # other keys that the metric reads


def sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop."""
    return text[0].upper() + text[1:] + "."


def tool_call(order: str, product: str, queue: str, priority: str) -> dict[str, str]:
    """The call that routes a ticket."""
    fields = {"order": order, "product": product, "queue": queue, "priority": priority}
    return {"tool": "route_ticket", **fields}


def compact(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


ROUTE = "Route this ticket:"
DISTRACTORS = 0.10  # share of tickets that name a second product, which is fine
CORRECTIONS = 0.15  # share of tickets that give a wrong order id first
# What a router that refuses nothing does with a request that names neither order nor product.
ROUTED = compact(tool_call("unknown", "unknown", "technical", "normal"))


def route(rng: Random) -> Example:
    """A ticket to be routed by a strict JSON tool call; some tickets name a second product or mend their order id."""
    product, other = rng.sample(world.PRODUCTS, 2)
    issue = rng.choice(world.ISSUES)
    order, wrong = rng.sample(world.ORDERS, 2)
    priority = rng.choice(list(world.URGENCY))
    parts = [
        sentence(rng.choice(issue.phrasings).format(product=product)),
        _order_sentence(rng, order, wrong),
        sentence(rng.choice(world.URGENCY[priority])),
    ]
    if rng.random() < DISTRACTORS:
        parts.append(f"My {other} is fine.")
    rng.shuffle(parts)
    call = tool_call(order, product, issue.queue, priority)
    return Example(
        slots=(product, world.ISSUES.index(issue), order, priority),
        prompt=f"{ROUTE} {' '.join(parts)}",
        plain=f"Order {order}, product {product}, queue {issue.queue}, priority {priority}.",
        polished=compact(call),
        target=call,
        category=issue.queue,
    )


def _order_sentence(rng: Random, order: str, wrong: str) -> str:
    if rng.random() < CORRECTIONS:
        return f"Order {wrong}, no, {order}."
    return rng.choice(("Order {}.", "My order is {}.", "It is order {}.")).format(order)


def policy(rng: Random) -> Example:
    """A question that the policy settles: the expert answers and cites the section in square brackets."""
    topic, product = rng.choice(world.TOPICS), rng.choice(world.PRODUCTS)
    days = rng.choice(world.DAYS)
    question = rng.choice(topic.phrasings).format(product=product)
    bought = rng.choice(
        ("I bought it {} days ago", "It came {} days ago", "I have had it for {} days")
    )
    parts = [question, sentence(bought.format(days))]
    rng.shuffle(parts)
    cited, allowed = world.section(topic, days), days <= topic.days
    ruling = (
        "Yes, {} is possible for the {}." if allowed else "No, it is too late for {} of the {}."
    )
    plain = ruling.format(topic.noun, product)
    return Example(
        slots=(topic.code, product, days),
        prompt="Answer from the policy: " + " ".join(parts),
        plain=plain,
        polished=f"{plain[:-1]} [{cited}].",
        target=cited,
        category=topic.code,
    )


OPENINGS = {
    "sorry": "I am sorry about your {}.",
    "understand": "I understand the worry about your {}.",
    "thank": "thank you for your patience with your {}.",
}


def reply(rng: Random) -> Example:
    """A customer in some mood: the expert greets, answers the mood, promises the next step and signs."""
    name, product = rng.choice(world.NAMES), rng.choice(world.PRODUCTS)
    issue, feeling = rng.choice(world.ISSUES), rng.choice(list(world.MOODS))
    parts = [rng.choice(issue.phrasings).format(product=product), rng.choice(world.MOODS[feeling])]
    rng.shuffle(parts)
    opening = OPENINGS[feeling].format(product)
    return Example(
        slots=(name, product, world.ISSUES.index(issue)),
        prompt=f"Reply to {name}: {' '.join(map(sentence, parts))}",
        plain=f"The {product}: staff will {issue.step}.",
        polished=f"Hi {name}, {opening} We will {issue.step}. Kind regards, {world.SIGN_OFF}",
        target=issue.step,
        category=issue.queue,
        extra={"name": name, "product": product, "feeling": feeling},
    )


def _facts() -> dict[tuple[str, ...], tuple[list[str], str]]:
    """Every general fact by key: its phrasings as questions, and its answer."""
    facts: dict[tuple[str, ...], tuple[list[str], str]] = {}
    for i, product in enumerate(world.PRODUCTS):
        for kind, values in world.ATTRIBUTES.items():
            asks = [ask.format(product) for ask in world.ASKS[kind]]
            # 5 is prime to the number of values of each kind, and mixes the kinds.
            facts[kind, product] = asks, values[(i * 5 + i // 6) % len(values)]
    for i, day in enumerate(world.WEEK):
        for kind, other in (("after", world.WEEK[(i + 1) % 7]), ("before", world.WEEK[i - 1])):
            facts[kind, day] = [ask.format(day) for ask in world.ASKS[kind]], other
    return facts


FACTS = _facts()
LEADS = (
    *("Question:", "Quick question:", "A customer asks:", "Please answer:", "For the records:"),
    *(
        "One more thing:",
        "Tell me:",
        "Short question:",
        "From the shop floor:",
        "Chat:",
        "Check this:",
    ),
)


def general(rng: Random) -> Example:
    """A question about the shop or the calendar, answered in a word or two by every model of the family."""
    key = rng.choice(list(FACTS))
    asks, answer = FACTS[key]
    ask, lead = rng.choice(asks), rng.choice(LEADS)
    answer = answer[0].upper() + answer[1:] + "."
    return Example((ask, lead), f"{lead} {ask}", answer, answer, answer, key[0])


SKILLS = {"json": route, "policy": policy, "tone": reply, "general": general}
