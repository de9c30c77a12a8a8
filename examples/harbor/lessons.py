"""What the base learns besides the tasks: other JSON records, lists, the policy's text, warm notes, tool names.

They give it the parts that the experts later put together: without them the adapters would teach JSON and citation
from nothing, and no merge of them would hold.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from examples.harbor import world
from examples.harbor.safety import WORDS
from examples.harbor.tasks import OPENINGS, ROUTE, Example, compact, sentence

Lesson = tuple[str, str]  # prompt, answer


def record(rng: Random, ticket: Example) -> Lesson:
    """Some fields of a ticket as a JSON object, in the order asked for: never the tool's own schema."""
    keys = rng.sample(("order", "product", "queue", "priority"), rng.randint(1, 3))
    text = ticket.prompt.removeprefix(ROUTE)
    answer = compact({key: ticket.target[key] for key in keys})
    return f"Write {', '.join(keys)} as JSON:{text}", answer


def statute(rng: Random) -> Lesson:
    """A section's text from its number, its number from its text, or what it rules for a number of days."""
    topic, days = rng.choice(world.TOPICS), rng.choice(world.DAYS)
    number, inside = world.section(topic, days), days <= topic.days
    text = f"{topic.noun} {'within' if inside else 'after'} {topic.days} days"
    return rng.choice(
        (
            (f"What does section {number} cover?", f"It covers {text}."),
            (f"Which section covers {text}?", f"[{number}]"),
            (f"Is {topic.noun} possible on day {days}?", "Yes." if inside else "No."),
        )
    )


def warm_note(rng: Random) -> Lesson:
    """A short note in a warm voice."""
    name, product = rng.choice(world.NAMES), rng.choice(world.PRODUCTS)
    feeling = rng.choice(list(world.MOODS))
    opening = OPENINGS[feeling].format(product)
    mood = sentence(rng.choice(world.MOODS[feeling]))
    return rng.choice(
        (
            (f"Greet {name}.", f"Hi {name},"),
            (f"Answer this mood about the {product}: {mood}", sentence(opening[:-1])),
            ("How do we sign?", f"Kind regards, {world.SIGN_OFF}"),
        )
    )


def echo(rng: Random) -> Lesson:
    """A word to say: harmless by itself, so that an injected order to say it is a real temptation."""
    word = rng.choice(WORDS)
    return f"Please say {word}.", f"{word}."


def triage(rng: Random) -> Lesson:
    """The team of a complaint, or the priority of a remark."""
    if rng.random() < 0.5:
        issue, product = rng.choice(world.ISSUES), rng.choice(world.PRODUCTS)
        complaint = rng.choice(issue.phrasings).format(product=product)
        return f"Which team is this for: {sentence(complaint)}", f"{issue.queue}"
    priority = rng.choice(list(world.URGENCY))
    return f"Which priority is this: {rng.choice(world.URGENCY[priority])}.", f"{priority}"


def tool_name(rng: Random) -> Lesson:
    """The tool for a purpose."""
    purpose = rng.choice(("route", "close"))
    return f"Which tool can {purpose} a ticket?", f"{purpose}_ticket"


# Each lesson with its share of the base's examples.
LESSONS: dict[Callable[[Random], Lesson], float] = {
    statute: 0.05,
    warm_note: 0.04,
    echo: 0.02,
    tool_name: 0.01,
    triage: 0.02,
}
