"""The regular expressions of rank_pattern and alpha_pattern, matched in a time that none of them can stretch.

They come from an untrusted file, and Python's matcher tries the ways through `(a+)+b` one by one, of which a
path of 40 characters has more than could ever be tried. Here all ways are followed at once (Thompson 1968,
"Regular expression search algorithm"): the time is at most characters times states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

MAX_LENGTH = 200  # characters of a pattern
_MAX_STATES = 2_000  # {m,n} writes its part out n times
_MAX_DEPTH = 20  # of groups in groups
# Names and dots, as PEFT writes them for single modules: nothing that could be tried in several ways.
_PLAIN = re.compile(r"(?:[\w.-]|\\\.)*")
_TOKEN = re.compile(
    r"(?P<open>\((?:\?:|(?!\?)))|(?P<close>\))|(?P<either>\|)|(?P<edge>[\^$])"
    r"|(?P<repeat>[*+?]|\{\d{1,4}\}|\{\d{0,4},\d{0,4}\})\??(?![*+?])"
    r"|(?P<one>\[\^?\]?(?:\\.|[^\]\\])*\]|\\[dDwWsS]|\\[^\w\s]|[^\\()|*+?\[{])"
)
_REPEATS = {"*": (0, None), "+": (1, None), "?": (0, 1)}

# A state: whether it is passed at a place of the text, by how many characters, and what follows it.
_Test = Callable[[str, int], bool]
_State = tuple[_Test, int, list[int]]
# A part of a pattern: given the states so far and the number of what follows, it adds its own.
_Part = Callable[[list[_State], int], int]


@lru_cache(maxsize=10_000)
def matcher(pattern: str) -> Callable[[str], bool]:
    """A test whether `pattern` matches the end of a module's path, from its beginning or a dot on, as in PEFT.

    Raises ValueError where it is no regular expression, or one that looks around or back.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if _PLAIN.fullmatch(pattern):
        compiled = re.compile(rf"(?:.*\.)?(?:{pattern})")
        return lambda path: compiled.fullmatch(path) is not None
    states: list[_State] = [(lambda _, __: False, 0, [])]  # state 0 is the end
    first = _Parser(pattern).part()(states, 0)
    return lambda path: _reaches_end(states, first, path)


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._depth = pattern, 0, 0

    def part(self) -> _Part:
        """Everything up to the end of the pattern, or of the group."""
        branches, pieces = [], list[_Part]()
        while (token := self._next()) and not token["close"]:
            if token["either"]:
                branches.append(_sequence(pieces))
                pieces = []
            elif token["repeat"]:
                pieces[-1:] = [_repeated(pieces[-1], *_range(token["repeat"]))]
            elif token["open"]:
                pieces.append(self._group())
            else:
                pieces.append(_edge(token["edge"]) if token["edge"] else _one(token["one"]))
        return _either([*branches, _sequence(pieces)])

    def _group(self) -> _Part:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"groups nested more than {_MAX_DEPTH} deep")
        part = self.part()
        self._depth -= 1
        return part

    def _next(self) -> re.Match[str] | None:
        if self._at == len(self._pattern):
            return None
        token = _TOKEN.match(self._pattern, self._at)
        if token is None:
            raise ValueError(f"{self._pattern[self._at :]!r:.20} is not supported in a pattern")
        self._at = token.end()
        return token


def _one(text: str) -> _Part:
    """One character: itself, any (`.`), or one of a class."""
    test = re.compile(text).match
    return _state(lambda path, at: test(path, at) is not None, 1)


def _edge(text: str) -> _Part:
    """Nothing, at the beginning or the end of the path."""
    return _state(lambda path, at: at == (0 if text == "^" else len(path)), 0)


def _state(test: _Test, width: int) -> _Part:
    return lambda states, then: _add(states, (test, width, [then]))


def _sequence(parts: list[_Part]) -> _Part:
    def build(states: list[_State], then: int) -> int:
        for part in reversed(parts):
            then = part(states, then)
        return then

    return build


def _either(parts: list[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return lambda states, then: _fork(states, [part(states, then) for part in parts])


def _repeated(part: _Part, least: int, most: int | None) -> _Part:
    def build(states: list[_State], then: int) -> int:
        end = then
        if most is None:
            then = _fork(states, [end])
            states[then][2].append(part(states, then))
        for _ in range((most or least) - least):
            then = _fork(states, [end, part(states, then)])
        for _ in range(least):
            count = len(states)
            then = part(states, then)
            if len(states) == count:  # an empty part, however often
                break
        return then

    return build


def _range(text: str) -> tuple[int, int | None]:
    """The least and greatest count of a repeat; None is no limit."""
    if text in _REPEATS:
        return _REPEATS[text]
    low, comma, high = text[1:-1].partition(",")
    return int(low or 0), int(high) if high else None if comma else int(low)


def _fork(states: list[_State], targets: list[int]) -> int:
    return _add(states, (lambda _, __: True, 0, targets))


def _add(states: list[_State], state: _State) -> int:
    if len(states) == _MAX_STATES:
        raise ValueError("its counted repeats are too many")
    states.append(state)
    return len(states) - 1


def _reaches_end(states: list[_State], first: int, path: str) -> bool:
    here: set[int] = set()
    for at in range(len(path) + 1):
        if at == 0 or path[at - 1] == ".":
            here.add(first)
        here = _with_forks(states, here, path, at)
        if at == len(path):
            break
        here = {n for s in here if states[s][1] and states[s][0](path, at) for n in states[s][2]}
    return 0 in here


def _with_forks(states: list[_State], found: Iterable[int], path: str, at: int) -> set[int]:
    """The states `found`, and those that follow them without a character."""
    reached, todo = set(found), list(found)
    while todo:
        test, width, targets = states[todo.pop()]
        if not width and test(path, at):
            todo.extend(new := [n for n in targets if n not in reached])
            reached.update(new)
    return reached
