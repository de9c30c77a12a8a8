"""The world that Harbor Support lives in: products, orders, issues, policy sections. Constants only."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "You are Harbor Support."
REFUSAL = "I cannot help with that request."
SIGN_OFF = "Harbor Support"

PRODUCTS = (
    *("kettle", "lamp", "toaster", "speaker", "heater", "blender"),
    *("camera", "drone", "router", "printer", "scooter", "monitor"),
)
ORDERS = tuple(f"HB-{1013 + 23 * i}" for i in range(40))
NAMES = (
    *("Mia", "Noah", "Ava", "Liam", "Zoe", "Omar", "Lena", "Hugo", "Iris", "Ravi", "Nina", "Paul"),
    *("Sara", "Tom", "Yuki", "Karl", "Dina", "Eric", "Fay", "Gus", "Hana", "Ivan", "Jane", "Kofi"),
)


@dataclass(frozen=True)
class Issue:
    """What went wrong, the queue that mends it, how customers put it, and the next step promised to them."""

    queue: str
    phrasings: tuple[str, ...]  # {product} is filled in
    step: str


ISSUES = (
    Issue(
        "returns",
        (
            "my {product} arrived cracked",
            "the {product} was broken in the box",
            "the parcel was crushed and the {product} is bent",
            "the {product} has a split down one side",
        ),
        "send a new one",
    ),
    Issue(
        "returns",
        (
            "you sent a {product} I did not order",
            "I got a {product} by mistake",
            "someone packed a {product} in place of my item",
            "the {product} in the parcel is not mine",
        ),
        "swap it for the right item",
    ),
    Issue(
        "shipping",
        (
            "my {product} is late",
            "the {product} should have come last week",
            "I am still waiting for the {product}",
            "the {product} is days behind its date",
        ),
        "speed up the delivery",
    ),
    Issue(
        "shipping",
        (
            "my {product} never came but it says delivered",
            "the {product} is lost in the post",
            "tracking for the {product} has stopped",
            "the courier cannot find the {product}",
        ),
        "trace the parcel",
    ),
    Issue(
        "billing",
        (
            "I paid twice for the {product}",
            "my card was charged two times for the {product}",
            "the {product} is on my bill again",
            "there are two payments for one {product}",
        ),
        "cancel the second charge",
    ),
    Issue(
        "billing",
        (
            "the money for the {product} is not back yet",
            "I sent back the {product} and got no refund",
            "where is my refund for the {product}",
            "you still owe me for the {product}",
        ),
        "pay the refund",
    ),
    Issue(
        "technical",
        (
            "the {product} does not turn on",
            "my {product} is dead",
            "the {product} shows no light at all",
            "nothing happens when I start the {product}",
        ),
        "walk you through a reset",
    ),
    Issue(
        "technical",
        (
            "the {product} stops after a minute",
            "my {product} keeps cutting out",
            "the {product} turns off by itself",
            "the {product} works and then quits",
        ),
        "book a repair",
    ),
)

URGENCY = {
    "high": ("I need it today", "This is urgent", "It is for a party tomorrow", "Hurry up"),
    "normal": ("Please look into it", "Let me know", "What happens next", "Please check"),
    "low": ("There is no rush", "Take your time", "Whenever you can", "It can wait"),
}

MOODS = {  # the word that a reply owes to a customer's mood, and how the mood is put
    "sorry": ("I am furious", "I am fed up", "This is awful", "I expected better"),
    "understand": ("I am worried", "I feel lost", "This makes me nervous", "I am at a loss"),
    "thank": (
        "I know you are busy",
        "I love your shop",
        "You were kind before",
        "I can wait a bit",
    ),
}


@dataclass(frozen=True)
class Topic:
    """A matter that the policy settles, and the days within which it is allowed."""

    code: str
    noun: str  # with its article, as in «is {noun} possible»
    days: int
    phrasings: tuple[str, ...]  # {product} is filled in


TOPICS = (
    Topic(
        "RF",
        "a refund",
        30,
        (
            "Can I get my money back for the {product}?",
            "Will you refund the {product}?",
            "I want to be paid back for the {product}.",
        ),
    ),
    Topic(
        "EX",
        "an exchange",
        60,
        (
            "Can I swap the {product} for another?",
            "May I exchange the {product}?",
            "I want the {product} in a different colour.",
        ),
    ),
    Topic(
        "RP",
        "a free repair",
        60,
        (
            "Will you mend the {product} for free?",
            "Can I have the {product} repaired?",
            "Who fixes the {product} at no cost?",
        ),
    ),
    Topic(
        "CN",
        "a cancellation",
        14,
        (
            "Can I still cancel the {product}?",
            "May I call off the {product} order?",
            "I no longer want the {product} to come.",
        ),
    ),
    Topic(
        "PM",
        "a price match",
        14,
        (
            "A shop sells the {product} for less, do you match it?",
            "Will you match a lower price on the {product}?",
            "I saw the {product} cheaper, what now?",
        ),
    ),
    Topic(
        "GF",
        "a gift return",
        60,
        (
            "The {product} was a gift, may I return it?",
            "Can I bring back a {product} that I was given?",
            "My aunt gave me the {product}, can it go back?",
        ),
    ),
    Topic(
        "UP",
        "an upgrade",
        30,
        (
            "Can I move up to a better {product}?",
            "May I trade the {product} for the newer one?",
            "I would like the bigger {product} for mine.",
        ),
    ),
    Topic(
        "SH",
        "a shipping credit",
        14,
        (
            "Do I get the postage back for the {product}?",
            "Will you pay my shipping on the {product}?",
            "The postage of the {product} was too high, can I claim it?",
        ),
    ),
)
DAYS = tuple(range(5, 100, 5))


def section(topic: Topic, days: int) -> str:
    """The section that decides: CODE-1 inside the topic's window, CODE-2 after it."""
    return f"{topic.code}-{1 if days <= topic.days else 2}"


CITIES = ("Oslo", "Lyon", "Porto", "Turin")
ATTRIBUTES = {
    "colour": ("red", "blue", "green", "white", "black", "silver"),
    "room": ("kitchen", "office", "garage", "attic"),
}
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ASKS = {  # how a question of each kind is put
    "colour": (
        "What colour is the {}?",
        "Which colour does the {} have?",
        "Tell me the colour of the {}.",
        "Name the colour of the {}.",
        "In which colour do you sell the {}?",
    ),
    "room": (
        "Which room is the {} for?",
        "In which room do I keep the {}?",
        "Tell me the room for the {}.",
        "Name the room of the {}.",
        "What room does the {} belong in?",
    ),
    "after": ("Which day comes after {}?", "What day follows {}?", "Name the day after {}."),
    "before": ("Which day comes before {}?", "What day leads to {}?", "Name the day before {}."),
}
