"""Reads ordered failure rules and says which of them match a text; `rules.toml` is the shipped set and explains itself.

Phrases instead of regular expressions: nobody has to escape `(publickey`, and no phrase can take more than linear time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any


class FailureVerdict(StrEnum):
    """Whose trouble it is."""

    PRODUCT = "product"
    TEST = "test"
    FLAKY = "flaky"  # failed, then passed: no rule says this, only a later attempt does
    ENVIRONMENT = "environment"
    INFRASTRUCTURE = "infrastructure"
    SETUP = "setup"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class RetryAdvice(StrEnum):
    """What trying again could be good for."""

    NEVER = "never"
    SAME_MACHINE = "same_machine"
    OTHER_MACHINE = "other_machine"
    BACKOFF = "backoff"  # anywhere, after a pause
    ONCE = "once"  # only to tell flaky from broken


VERDICT_OF_CATEGORY = {
    "product": FailureVerdict.PRODUCT,
    "test": FailureVerdict.TEST,
    "env": FailureVerdict.ENVIRONMENT,
    "infra": FailureVerdict.INFRASTRUCTURE,
    "setup": FailureVerdict.SETUP,
    "cancelled": FailureVerdict.CANCELLED,
}
_WORD = re.compile(r"\w+")
_BETWEEN_WORDS = {code: " " for code in range(128) if not _WORD.fullmatch(chr(code))}
_FIELDS = {"id", "category", "retry", "text", "exit", "signal", "source", "hint"}
_WILDCARDS = {"*": r"[^\n]{0,200}?", "#": r"[0-9]{1,12}(?:\.[0-9]{1,6})?", "^": "^", "$": "$"}


class RulesError(ValueError):
    """A rules file cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("The failure rules cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Phrase:
    word: str  # the longest whole word of it in lower case, looked for first, among all words of a text; or empty
    needle: str  # the longest literal part in lower case, looked for next
    expression: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Made when it is first needed: most rules never are."""
        return _compiled(self.expression)

    @classmethod
    def parse(cls, phrase: str) -> Phrase:
        """`*`, `#`, `^` (first) and `$` (last) are wildcards; raises ValueError when nothing literal is left.

        Two `*` at most: what a phrase may cost at one place of the text grows with 200 to the power of them.
        """
        if phrase.replace("\\*", "").count("*") > 2:
            raise ValueError("has more than two *")
        parts: list[str] = []
        literals = [""]
        position = 0
        while position < len(phrase):
            char = phrase[position]
            anchor = (char == "^" and position == 0) or (char == "$" and position == len(phrase) - 1)
            if char in "*#" or anchor:
                parts.append(_WILDCARDS[char])
                literals.append("")
            else:
                if char == "\\" and position + 1 < len(phrase):
                    position += 1
                parts.append(re.escape(phrase[position]))
                literals[-1] += phrase[position]
            position += 1
        needle = max(literals, key=len).lower()
        if not needle.strip():
            raise ValueError("has no literal text")
        whole_words = _edge(phrase[0], r"(?<!\w)") + "".join(parts) + _edge(phrase[-1], r"(?!\w)")
        return cls(_whole_word(literals), needle, whole_words)


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.IGNORECASE | re.MULTILINE)


def _words(text: str) -> set[str]:
    return set(text.translate(_BETWEEN_WORDS).split() if text.isascii() else _WORD.findall(text))


def _whole_word(literals: list[str]) -> str:
    """The longest word between characters that are in no word, or at the ends of the phrase."""
    words: list[str] = []
    for number, literal in enumerate(literals):
        for match in _WORD.finditer(literal.lower()):
            open_before = match.start() == 0 and number > 0
            open_behind = match.end() == len(literal) and number < len(literals) - 1
            if not open_before and not open_behind:
                words.append(match[0])
    return max(words, key=len, default="")


def _edge(char: str, look: str) -> str:
    return look if char.isalnum() or char == "_" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    id: str
    category: str
    retry: RetryAdvice
    text: tuple[Phrase, ...] = ()
    exit: frozenset[int] = frozenset()
    signal: frozenset[str] = frozenset()
    source: frozenset[str] = frozenset()
    hint: str = ""
    words: frozenset[str] = field(init=False)  # one of each phrase's: a text without any of them needs no closer look

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", frozenset(phrase.word for phrase in self.text))

    @property
    def verdict(self) -> FailureVerdict:
        return VERDICT_OF_CATEGORY[self.category.split(".")[0]]


@dataclass(frozen=True, slots=True, eq=False)
class FailureRules:
    """Rules in the order they are asked. Compared by identity, so that what they said of a text can be remembered."""

    rules: tuple[Rule, ...]
    words: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", frozenset().union(*(rule.words for rule in self.rules)))

    def by_text(self, text: str, source: str) -> Iterator[tuple[Rule, re.Match[str]]]:
        """Every rule one of whose phrases occurs in `text`, with the occurrence that comes first for that phrase."""
        lowered = text.lower()
        words = (self.words & _words(lowered)) | {""}  # the word of a phrase that has none
        for rule in self.rules:
            if rule.words.isdisjoint(words) or (rule.source and source not in rule.source):
                continue
            for phrase in rule.text:
                if phrase.word in words and phrase.needle in lowered and (match := phrase.pattern.search(text)):
                    yield rule, match
                    break

    def by_ending(self, exit_code: int | None, signal: str, source: str) -> Iterator[Rule]:
        """Every rule that names this exit code or signal."""
        for rule in self.rules:
            if (not rule.source or source in rule.source) and (exit_code in rule.exit or signal in rule.signal):
                yield rule


def load_rules(user_toml: str | None = None) -> FailureRules:
    """The user's rules, in their order, then the shipped ones; a user's rule replaces the shipped one with its id.

    Raises RulesError with every problem of `user_toml` at once.
    """
    shipped = _shipped()
    if user_toml is None:
        return shipped
    own = _parse(user_toml)
    taken = {rule.id for rule in own}
    return FailureRules(own + tuple(rule for rule in shipped.rules if rule.id not in taken))


@cache
def _shipped() -> FailureRules:
    return FailureRules(
        _parse(resources.files("report_merge.failures").joinpath("rules.toml").read_text(encoding="utf-8"))
    )


def _parse(toml: str) -> tuple[Rule, ...]:
    try:
        document = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise RulesError((f"not valid TOML: {error}",)) from None
    problems = [f"unknown key {key!r}: a rules file holds [[rule]] tables" for key in document if key != "rule"]
    tables = document.get("rule", [])
    if not isinstance(tables, list):
        raise RulesError((*problems, "`rule` must be written as [[rule]] tables"))
    rules: list[Rule] = []
    seen: set[str] = set()
    for number, table in enumerate(tables, start=1):
        rule, found = _rule(number, table)
        problems += found
        if rule is None:
            continue
        if rule.id in seen:
            problems.append(f"rule {number} ({rule.id}): this id is used twice")
        seen.add(rule.id)
        rules.append(rule)
    if problems:
        raise RulesError(tuple(problems))
    return tuple(rules)


def _rule(number: int, table: Any) -> tuple[Rule | None, list[str]]:
    if not isinstance(table, dict):
        return None, [f"rule {number}: must be a table"]
    problems = [*_unusable_names(table), *_unusable_conditions(table)]
    phrases: list[Phrase] = []
    if not problems:
        for text in table.get("text", []):
            try:
                phrases.append(Phrase.parse(text))
            except ValueError as error:
                problems.append(f"the phrase {text!r} {error}")
    if problems:
        return None, [f"rule {number} ({table.get('id', 'no id')}): {problem}" for problem in problems]
    return Rule(
        id=table["id"],
        category=table["category"],
        retry=RetryAdvice(table["retry"]),
        text=tuple(phrases),
        exit=frozenset(table.get("exit", [])),
        signal=frozenset(table.get("signal", [])),
        source=frozenset(table.get("source", [])),
        hint=table.get("hint", ""),
    ), []


def _unusable_names(table: dict[str, Any]) -> Iterator[str]:
    for key in sorted(table.keys() - _FIELDS):
        yield f"unknown field {key!r}; known: {', '.join(sorted(_FIELDS))}"
    missing = [key for key in ("id", "category", "retry") if not isinstance(table.get(key), str) or not table[key]]
    for key in missing:
        yield f'needs {key} = "..."'
    if "category" not in missing and table["category"].split(".")[0] not in VERDICT_OF_CATEGORY:
        yield f"category must start with {', '.join(VERDICT_OF_CATEGORY)}, not {table['category']!r}"
    if "retry" not in missing and table["retry"] not in list(RetryAdvice):
        yield f"retry must be {', '.join(RetryAdvice)}, not {table['retry']!r}"
    if not isinstance(table.get("hint", ""), str):
        yield "hint must be a string"


def _unusable_conditions(table: dict[str, Any]) -> Iterator[str]:
    for key, kind in (("text", str), ("exit", int), ("signal", str), ("source", str)):
        value = table.get(key, [])
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            yield f"{key} must be a list of {'numbers' if kind is int else 'strings'}"
    if not any(table.get(key) for key in ("text", "exit", "signal")):
        yield "needs at least one of text, exit, signal: it would never match"
