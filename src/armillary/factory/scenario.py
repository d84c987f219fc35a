"""Scenario words become conditions that a life fulfils or not. A word that no world knows is named, never ignored.

    read("two pedestrians and a red van in heavy rain ...")    RequestError: 'heavy' is unknown in driving
    read("a red van in the rain at night, two pedestrians")    -> Scenario(world="driving", wants=(...))

A phrase that names a parameter's value asks for that value; a noun with a number, colours and such asks for things;
from a verb to the end of its clause the words ask for an instruction that holds them in that order.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from armillary.errors import RequestError
from armillary.factory.facts import Facts
from armillary.factory.vocabulary import FILLERS, NONE, NUMBERS, Vocabulary, split, vocabulary
from armillary.worlds import WORLDS

_EXACT = frozenset({"exactly", "only", "just"})
_MANY = frozenset({"several", "many"})
_COUNTING = NONE | _EXACT | _MANY | frozenset(NUMBERS) | frozenset(map(str, range(10))) | {"least"}
_AFTER_NUMBERS = frozenset({"of", "a", "an", "the", "at", "more"})
_ENDS = re.compile(r"[.,;:!?()]")
_LONGEST = 5  # words of a phrase


@dataclass(frozen=True, kw_only=True)
class Want:
    """One condition. ``keys``: the parameters or lists it is about; ``words``: what is to be there, in order for
    instructions; ``least`` and ``most``: how many things.
    """

    kind: Literal["value", "thing", "instruction"]
    words: tuple[str, ...]
    keys: tuple[str, ...] = ()
    least: int = 1
    most: int | None = None

    def holds(self, facts: Facts) -> bool:
        """Whether a life with these facts fulfils it."""
        if self.kind == "value":
            return any(tuple(split(facts.values.get(key, ""))) == self.words for key in self.keys)
        if self.kind == "instruction":
            return re.search(r"\b" + r"\b.*\b".join(self.words) + r"\b", " ".join(split(facts.instruction))) is not None
        lists = self.keys or tuple(facts.things)
        things = [name for key in lists for name in facts.things.get(key, ())]
        count = sum(set(self.words) <= set(split(name)) for name in things)
        return self.least <= count and (self.most is None or count <= self.most)

    def told(self) -> str:
        """The condition in words."""
        said = " ".join(self.words)
        if self.kind == "value":
            return f"{' or '.join(self.keys)} is {said}"
        if self.kind == "instruction":
            return f"the instruction says {said}"
        many = f"{self.least}" if self.most == self.least else f"at least {self.least}"
        return f"{many} of {' or '.join(self.keys) or 'all things'}" + (f" called {said}" if said else "")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Words understood: the world, who acts (None: its first controller), and what must hold."""

    words: str
    world: str
    controller: str | None
    wants: tuple[Want, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether all conditions hold."""
        return all(want.holds(facts) for want in self.wants)


def read(words: str, world: str | None = None) -> Scenario:
    """The scenario that ``words`` describe, in ``world`` or else in the one world that knows every word.

    ``RequestError`` names every word that is not understood, with the nearest that is, and worlds where several fit.
    """
    if world is not None:
        if world not in WORLDS:
            raise RequestError(f"world {world!r} is unknown: it must be one of {', '.join(WORLDS)}.")
        scenario, unknown = _understood(words, vocabulary(world))
        if unknown:
            raise RequestError(_complaint(unknown, vocabulary(world)))
        return scenario
    nothing = f"{words!r} asks for nothing in particular: name the world, and something to be there."
    if not set(split(words)) - FILLERS:
        raise RequestError(nothing)
    tried = {name: _understood(words, vocabulary(name)) for name in WORLDS}
    fitting = [
        name for name, (scenario, unknown) in tried.items() if not unknown and (scenario.wants or scenario.controller)
    ]
    if len(fitting) == 1:
        return tried[fitting[0]][0]
    if fitting:
        raise RequestError(f"{words!r} can be had in {' and in '.join(fitting)}: name the world.")
    best = min(tried, key=lambda name: len(tried[name][1]))
    if not tried[best][1]:
        raise RequestError(nothing)
    raise RequestError(_complaint(tried[best][1], vocabulary(best)))


def _complaint(unknown: list[str], known: Vocabulary) -> str:
    others = {word: known.known - {word} for word in unknown}  # it may be a part of a phrase and mean nothing alone
    near = {word: difflib.get_close_matches(word, others[word], n=2, cutoff=0.7) for word in unknown}
    told = "; ".join(f"{word!r}" + (f" (near: {', '.join(found)})" if found else "") for word, found in near.items())
    values = ", ".join(sorted(known.values)[:40]) or "none"
    return (
        f"not understood in world {known.world}: {told}. It knows things called {', '.join(sorted(known.names)[:30])}; "
        f"values {values}; instructions with {', '.join(sorted(known.deeds)[:30])}. Say it so, or leave it out."
    )


class _Reader:
    """Walks through the words of a scenario, once."""

    def __init__(self, known: Vocabulary) -> None:
        self.known = known
        self.wants: list[Want] = []
        self.unknown: list[str] = []
        self.controller: str | None = None

    def clause(self, words: list[str]) -> None:
        """What one clause asks for."""
        at = 0
        deed: list[str] | None = None
        while at < len(words):
            word = words[at]
            if deed is not None and (word in self.known.deeds or word in self.known.names):
                deed.append(word)
                at += 1
            elif deed is None and word in self.known.verbs:
                deed = [word]
                at += 1
            elif width := self._phrase(words, at):
                at += width
            elif deed is None:
                at += self._thing(words, at)
            else:
                if word not in FILLERS and word not in self.known.lists:
                    self.unknown.append(word)
                at += 1
        if deed is not None:
            self.wants.append(Want(kind="instruction", words=tuple(deed)))

    def _phrase(self, words: list[str], at: int) -> int:
        """A parameter's value or a controller that begins here: how many words it has; 0 if none does."""
        for width in range(min(_LONGEST, len(words) - at), 0, -1):
            phrase = " ".join(words[at : at + width])
            keys = self.known.values.get(phrase, ())
            around = set(words[max(0, at - 3) : at] + words[at + width : at + width + 2])
            named = tuple(key for key in keys if set(split(key)) & around)
            if keys and not self._is_part_of_a_name(words, at, width):
                self.wants.append(Want(kind="value", words=tuple(phrase.split()), keys=named or keys))
                return width
            if phrase in self.known.controllers:
                self.controller = phrase
                return width
        return 0

    def _is_part_of_a_name(self, words: list[str], at: int, width: int) -> bool:
        """Whether a word is a colour or such in front of a noun, and no value: ``white`` in ``white ball``."""
        return (
            width == 1 and words[at] in self.known.names and at + 1 < len(words) and words[at + 1] in self.known.names
        )

    def _thing(self, words: list[str], at: int) -> int:
        """Things that are to be there, with their number: how many words were taken, at least one."""
        start = at
        least, most, at = self._number(words, at)
        named: list[str] = []
        keys: tuple[str, ...] = ()
        while at < len(words) and (words[at] in self.known.names or words[at] in self.known.lists):
            if words[at] in self.known.lists:
                keys = (self.known.lists[words[at]],)
            if words[at] in self.known.names:
                named.append(words[at])
            at += 1
            if at + 1 < len(words) and words[at] == "in" and words[at + 1] in self.known.names and keys:
                at += 1  # a pedestrian in white
        if named or keys:
            self.wants.append(Want(kind="thing", words=tuple(named), keys=keys, least=least, most=most))
        elif at == start:
            self._single(words[at])
            at += 1
        return at - start

    def _number(self, words: list[str], at: int) -> tuple[int, int | None, int]:
        """How many things at least and at most, and where their names begin."""
        least, most, exact = 1, None, False
        begun = at
        while at < len(words) and (words[at] in _COUNTING or (at > begun and words[at] in _AFTER_NUMBERS)):
            word = words[at]
            if word in NONE:
                least, most = 0, 0
            elif word in _MANY:
                least = 3
            elif word in NUMBERS or word.isdigit():
                least = NUMBERS[word] if word in NUMBERS else int(word)
            exact |= word in _EXACT
            at += 1
        return least, least if exact else most, at

    def _single(self, word: str) -> None:
        """A word that is neither value nor thing: part of what a world without commands says, a filler, or unknown."""
        keys = {part for keys in self.known.values.values() for key in keys for part in split(key)}
        if word in self.known.deeds and not self.known.verbs:
            self.wants.append(Want(kind="instruction", words=(word,)))
        elif word not in FILLERS and word not in keys:
            self.unknown.append(word)


def _understood(words: str, known: Vocabulary) -> tuple[Scenario, list[str]]:
    reader = _Reader(known)
    for clause in _ENDS.split(words.replace(" while ", ", ").replace(" and then ", ", ")):
        reader.clause(_canonical(split(clause), known))
    wants = tuple(dict.fromkeys(reader.wants))
    scenario = Scenario(words=words, world=known.world, controller=reader.controller, wants=wants)
    return scenario, list(dict.fromkeys(reader.unknown))


def _canonical(words: list[str], known: Vocabulary) -> list[str]:
    """The words in the world's own: synonyms replaced, the longest first, plurals and verbs brought to a known form."""
    made: list[str] = []
    at = 0
    while at < len(words):
        for width in range(min(_LONGEST, len(words) - at), 0, -1):
            phrase = " ".join(words[at : at + width])
            single = " ".join(known.word(word) for word in words[at : at + width])
            if phrase in known.values:
                made += phrase.split()
            elif phrase in known.same or single in known.same:
                made += known.same.get(phrase, known.same.get(single, "")).split()
            elif width == 1:
                made.append(known.word(words[at]))
            else:
                continue
            at += width
            break
    return made
