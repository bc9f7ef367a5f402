"""The core's English sentences -> the visitor's language, by templates; and which language that is.

The core speaks English, with names and numbers in it. ``data/speech.json`` has a template for each sentence that a
visitor can meet, such as "{name}, similarity {value:number}", and what it is in Korean and Thai. What no template
knows stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from ..errors import Cancelled

LANGUAGES = ("en", "ko", "th")
_NUMBER = r"[-+]?\d[\d,.:]*"
# How sentences follow each other in one text. Thai puts a space where others put a stop.
_SEPARATORS = {". ": {"ko": ". ", "th": " "}, "; ": {"ko": ". ", "th": " "}, " · ": {"ko": " · ", "th": " · "}}
_BETWEEN = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])\. |; | · ")  # not in "Dr. Kim"
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
_OPEN = ("view",)  # kinds whose words are not all known: what is not stays as it is
_PLAIN = ("", "names", "thing")  # kinds of slots that hold no sentences
_LONGEST = 20_000  # characters; beyond, a text is no sentence
_MOST_PIECES = 60  # sentences of one text

# Particles: after a vowel, after a consonant, and how the choice is written where the sound is not known. The rule is
# that of Korean orthography (National Institute of Korean Language, Hangeul Matchumbeop, articles 18 and 41).
_PARTICLES = {
    "은(는)": ("는", "은"), "이(가)": ("가", "이"), "을(를)": ("를", "을"), "과(와)": ("와", "과"),
    "(으)로": ("로", "으로"), "(이)라": ("라", "이라"),
}  # fmt: skip
_DIGITS = dict(zip("0123456789", "영일이삼사오육칠팔구", strict=True))  # as they are read


@dataclass(frozen=True)
class _Template:
    """One sentence of the core.

    Attributes:
        pattern: matches the whole sentence.
        slots: name -> what it holds: "" (a name, path or command without a separator in it), "number", "word" (without
            spaces), "all" (anything), "said" (a sentence of its own), "names" and "files" (several in a row), "thing"
            (a noun of the lexicon), or a kind of the catalogue's words.
        literal: the longest text that stands in every such sentence.
        weight: characters that are not in slots; where two templates fit, the longer says more.
        says: language -> the sentence.
    """

    pattern: re.Pattern[str]
    slots: Mapping[str, str]
    literal: str
    weight: int
    says: Mapping[str, str]


@cache
def catalogue() -> dict[str, Any]:
    """The file: "headings" of errors, "words" by kind, and "sentences": English template -> language -> sentence."""
    return json.loads((resources.files("identity_segmentation") / "data" / "speech.json").read_text("utf-8"))


@cache
def _things() -> dict[str, dict[str, str]]:
    """English noun -> language -> noun, by the lexicon: the first word of each language."""
    found: dict[str, dict[str, str]] = {}
    for line in (resources.files("identity_segmentation") / "data" / "lexicon.txt").read_text("utf-8").splitlines():
        if line.startswith("#") or line.count(";") != 2:
            continue
        english, korean, thai = ([word.strip() for word in part.split(",")] for part in line.split(";"))
        for word in english:
            found.setdefault(word, {"ko": korean[0], "th": thai[0]})
    return found


def _vocabulary(kind: str) -> Mapping[str, Mapping[str, str]]:
    return _things() if kind == "thing" else catalogue()["words"][kind]


def _slot_pattern(kind: str) -> str:
    if kind == "number":
        return _NUMBER
    if kind == "word":
        return r"\S+?"
    if kind in ("", "all", "said", "names", "files", "thing"):
        return ".+?"
    words = "|".join(
        [*map(re.escape, sorted(_vocabulary(kind), key=len, reverse=True)), *([r"[\w./-]+"] * (kind in _OPEN))]
    )
    return f"(?:{words})(?:, (?:{words}))*"


def _compiled(english: str, says: Mapping[str, str]) -> _Template:
    pattern, slots, literals, at = "", {}, [], 0
    for slot in _SLOT.finditer(english):
        name, kind = slot[1], slot[2] or ""
        literals.append(english[at : slot.start()])
        pattern += re.escape(literals[-1]) + f"(?P<{name}>{_slot_pattern(kind)})"
        slots[name], at = kind, slot.end()
    literals.append(english[at:])
    pattern = (pattern + re.escape(literals[-1])).replace(r"\ \ ", " +")  # columns of a table
    longest = max((part for text in literals for part in text.split("  ")), key=len)
    return _Template(re.compile(pattern, re.DOTALL), slots, longest, sum(map(len, literals)), says)


@cache
def _templates() -> tuple[dict[str, list[_Template]], list[_Template]]:
    """(first word -> templates that begin with it, those that begin with a slot); the longest first."""
    by_word: dict[str, list[_Template]] = {}
    others: list[_Template] = []
    for english, says in catalogue()["sentences"].items():
        template = _compiled(english, says)
        first = re.match(r"[^\s{]+(?=\s)|[^{]+$", english)
        (others if first is None else by_word.setdefault(first[0].split()[0], [])).append(template)
    for found in (*by_word.values(), others):
        found.sort(key=lambda template: -template.weight)
    return by_word, others


def _candidates(text: str) -> Iterator[_Template]:
    by_word, others = _templates()
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    yield from (template for template in (*by_word.get(first, ()), *others) if template.literal in text)


@lru_cache(maxsize=2048)
def in_language(text: str, language: str) -> str:
    """What the core says, in another language; what is not known stays as it is.

    Args:
        text: one sentence or several, with ". ", "; ", " · " or a new line between them.
        language: "ko" or "th"; anything else leaves the text as it is.
    """
    if language not in LANGUAGES[1:] or not text.strip() or len(text) > _LONGEST:
        return text
    whole = _word(text, language) or _sentence(text, language, strict=True)
    if whole is not None:
        return whole
    if "\n" in text:
        return "\n".join(in_language(line, language) for line in text.split("\n"))
    if " · " in text:  # facts side by side: each stands for itself
        return " · ".join(in_language(part, language) for part in text.split(" · "))
    pieces = _pieces(text, language)
    if pieces is not None:
        return pieces
    whole = _sentence(text, language, strict=False)
    return text if whole is None else whole


def _word(text: str, language: str) -> str | None:
    """A word that stands for itself, as in a table: a verdict, a state, a view."""
    return next((words[text][language] for words in catalogue()["words"].values() if text in words), None)


def _pieces(text: str, language: str) -> str | None:
    """Several sentences, if each of them is known."""
    places = [(match.start(), match[0]) for match in _BETWEEN.finditer(text)]
    if not places or len(places) > _MOST_PIECES:
        return None
    known: dict[int, str | None] = {len(text) + 1: ""}

    def said_from(begin: int) -> str | None:
        if begin not in known:
            known[begin] = None
            ends = [(at, separator) for at, separator in places if at > begin]
            for at, separator in [(len(text), ""), *reversed(ends)]:  # the longest sentence first
                first = _sentence(text[begin:at], language, strict=True)
                rest = None if first is None else said_from(at + len(separator)) if separator else ""
                if first is not None and rest is not None:
                    known[begin] = first.rstrip(".") + _SEPARATORS[separator][language] + rest if separator else first
                    break
        return known[begin]

    return said_from(0)


def _sentence(text: str, language: str, strict: bool) -> str | None:
    """One sentence; None if no template fits it. `strict`: names do not hold separators."""
    stop = text.endswith(".") and not text.endswith("..")
    for asked, end in ((text, ""), *(((text[:-1], "." if language == "ko" else ""),) if stop else ())):
        for template in _candidates(asked):
            match = template.pattern.fullmatch(asked)
            if match is None:
                continue
            given = match.groupdict()
            if strict and any(_is_several(given[name]) for name, kind in template.slots.items() if kind in _PLAIN):
                continue
            values = {name: _value(given[name], kind, language) for name, kind in template.slots.items()}
            return _filled(template.says[language], values, language) + end
    return None


def _is_several(value: str) -> bool:
    return "\n" in value or _BETWEEN.search(value) is not None


def _value(value: str, kind: str, language: str) -> str:
    """What goes into a slot."""
    if kind in ("", "number", "word", "all"):
        return value
    if kind == "files":
        return value.replace(" and ", ", ")
    if kind == "said":
        return in_language(value, language)
    if kind == "names":
        return _names(value, language)
    words = _vocabulary(kind)
    parts = [value] if value in words or kind == "thing" else value.split(", ")
    return ", ".join(words[part][language] if part in words else part for part in parts)


def _names(names: str, language: str) -> str:
    """Names in a row, as the core puts them: "'A' or 'B'", "A, B and 3 more"."""
    either, more = {"ko": ("' 또는 '", r" 외 \1명"), "th": ("' หรือ '", r" และอีก \1 คน")}[language]
    return re.sub(r" and (\d+) more$", more, names).replace("' or '", either)


def _filled(says: str, values: Mapping[str, Any], language: str) -> str:
    """A sentence with its slots filled; in Korean each particle agrees with what stands before it."""
    parts, at = [], 0
    for slot in _SLOT.finditer(says):
        parts += [says[at : slot.start()], values[slot[1]]]
        at = slot.end()
    parts.append(says[at:])
    if language == "ko":
        for n in range(2, len(parts), 2):
            parts[n] = _agreeing(parts[n - 1], parts[n])
    return "".join(parts)


def _agreeing(before: str, after: str) -> str:
    """Text after a name, its particle chosen by the name's last sound; both forms stay where that is not known."""
    for both, (vowel, consonant) in _PARTICLES.items():
        if after.startswith(both):
            final = _final(before)
            if final is None:
                return after
            open_ended = not final or (both == "(으)로" and final == 8)  # after ㄹ it is 로
            return (vowel if open_ended else consonant) + after.removeprefix(both)
    return after


def _final(text: str) -> int | None:
    """Number of the final consonant of a text's last syllable, 0 = none, 8 = ㄹ; None = not Hangul and no digit.

    Syllables stand in order of initial, vowel and final from U+AC00 on, 28 finals each (Unicode 16, section 3.12).
    """
    letters = [letter for letter in text if letter.isalnum()]
    last = _DIGITS.get(letters[-1], letters[-1]) if letters else ""
    return (ord(last) - 0xAC00) % 28 if "가" <= last <= "힣" else None


def heading(error: BaseException, language: str) -> str:
    """What kind of error it is, in a word or two.

    Args:
        error: one of `errors`, or any other.
        language: as in `in_language`.
    """
    headings = catalogue()["headings"]
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in headings), "Exception")
    return headings[name].get(language, headings[name]["en"])


def error_in_language(error: BaseException, language: str) -> str:
    """An error as a sentence: in the language, or its kind in the language and the English detail.

    Args:
        error: one of `errors`.
        language: as in `in_language`.
    """
    text = "cancelled; what was finished is kept" if isinstance(error, Cancelled) else str(error)
    found = in_language(text, language)
    return found if language not in LANGUAGES[1:] or found != text else f"{heading(error, language)} - {text}"


def language_of(request: Any) -> str:
    """The visitor's language: the first of ours that their browser accepts, by its order of preference; else English.

    Args:
        request: a `gr.Request`, or None. Its header is "ko-KR,ko;q=0.9,en;q=0.8" or the like (RFC 9110, 12.5.4).
    """
    header = str((getattr(request, "headers", None) or {}).get("accept-language") or "")
    wanted = []
    for place, part in enumerate(header.split(",")):
        tag, _, rest = part.strip().partition(";")
        weight = re.fullmatch(r"q=([01](?:\.\d{1,3})?)", rest.strip())
        wanted.append((-float(weight[1]) if weight else -1.0, place, tag.strip().lower().partition("-")[0]))
    return next((tag for weight, _, tag in sorted(wanted) if tag in LANGUAGES and weight < 0), "en")


def language_now() -> str:
    """The language of the visitor whose event is being answered; English outside of one."""
    from gradio.context import LocalContext

    return language_of(LocalContext.request.get(None))


def said(text: str) -> str:
    """What the core says, in the language of the visitor whose event is being answered.

    Args:
        text: as in `in_language`.
    """
    return in_language(text, language_now())


def told(error: BaseException) -> str:
    """An error as a sentence, in the language of the visitor whose event is being answered.

    Args:
        error: one of `errors`.
    """
    return error_in_language(error, language_now())
