"""What people type -> whom they mean, and which thing of theirs: "Wonyoung's shirt", 원영의 셔츠, เสื้อของวอนยอง.

Names and aliases come from the gallery; things in Korean and Thai are looked up in a lexicon (data/lexicon.txt, and
the user's own in IDSEG_LEXICON), English goes through as typed. A name that nobody has is never guessed: the nearest is
suggested, and the person asks again. (Notebook section 5.)
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from .errors import InputError, UnknownPerson

KINDS_OF_PEOPLE = ("woman", "man", "girl", "boy", "child")  # that only an engine which knows words can tell apart
_LONGEST = 200
_NEAR = 0.8  # difflib ratio from which a word is taken for a misspelt name, and suggested
# What may cling to a name: Korean particles and forms of address, the English genitive.
_AFTER_NAME = r"(?:씨|님|언니|누나)?(?:이의|이가|의|이|가|은|는|을|를|네|'s|’s|'|s')?"
_KOREAN_SMALL = r"(?:의|이|가|은|는|을|를|만|도|네|씨|님)"


@dataclass(frozen=True)
class Phrase:
    """What was meant.

    Attributes:
        person: display name, or None for anybody.
        thing: in English, or None for the whole person.
    """

    person: str | None
    thing: str | None


def parse_phrase(text: str, people: Mapping[str, Iterable[str]]) -> Phrase:
    """Understand a phrase.

    Args:
        text: what was typed, in English, Korean or Thai, or a mix.
        people: display name -> aliases.

    Raises:
        InputError: empty, longer than 200 characters, two people at once, or a Korean or Thai word that the lexicon
            does not know.
        UnknownPerson: something of a person who is not on file, or a word close to a name; the nearest is suggested.
    """
    asked = _plain(text)
    if not re.search(r"\w", asked):
        raise InputError(f"expected a name, a thing, or somebody's thing, got {text[:40]!r}")
    if len(asked) > _LONGEST:
        raise InputError(f"expected a phrase of at most {_LONGEST} characters, got {len(asked)}")
    spellings = _spellings(people)
    found = _mentioned(asked, spellings)
    if len({name for name, *_ in found}) > 1:
        raise InputError(f"one person at a time; {asked!r} names {' and '.join(sorted({n for n, *_ in found}))}")
    if found:
        name, start, end = found[0]
        rest = f"{_before_name(asked[:start])} {_after_name(asked[end:])}"
        rest = _trimmed(rest)
        return Phrase(name, _thing(rest, asked) if rest else None)
    owner, _ = _possessive(asked)
    # "bottle of water" and "women's shoes" are things; "Karina's shirt" is somebody's.
    somebody = owner and people and _lexicon().get(_key(owner)) is None
    if owner and somebody and (_script(owner) != "latin" or owner[0].isupper() or _nearest(owner, spellings)):
        raise UnknownPerson(_nobody(owner, people, spellings))
    if _lexicon().get(_key(asked)) is None:
        near = _nearest(asked, spellings)
        if near:
            raise UnknownPerson(f"nobody on file is called {asked!r}; did you mean {near!r}?")
    return Phrase(None, _thing(_trimmed(asked), asked))


def known_things() -> list[str]:
    """Everything the lexicon translates, in English."""
    return list(dict.fromkeys(_lexicon().values()))


# ---- names


def _plain(text: str) -> str:
    """NFC, plain apostrophes, single spaces, no quotes or full stops around."""
    text = unicodedata.normalize("NFC", str(text))
    text = re.sub("[\u2018\u2019\u201b\u02bc\u0060\u00b4]", "'", text)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "So", "Sk"))
    return " ".join(text.split()).strip(" .,!?\"'“”「」")


def _key(text: str) -> str:
    """As compared: case folded, without spaces, hyphens and underscores."""
    return re.sub(r"[\s_\-]", "", unicodedata.normalize("NFC", text).casefold())


def _spellings(people: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Every way to write everyone: spelling -> display name; longer ones first."""
    ways: dict[str, str] = {}
    for name, aliases in people.items():
        for way in (name, *aliases):
            plain = _plain(way)  # as the question itself is read: straight apostrophes, no emoji
            if _key(plain):
                ways.setdefault(plain, name)
    return dict(sorted(ways.items(), key=lambda item: -len(item[0])))


def _mentioned(text: str, spellings: dict[str, str]) -> list[tuple[str, int, int]]:
    """(name, start, end) of the people a text names; a longer spelling hides a shorter one inside it."""
    taken: list[tuple[str, int, int]] = []
    for way, name in spellings.items():
        letters = [c for c in way if c not in " _-"]
        pattern = r"[\s_\-]*".join(map(re.escape, letters))
        for match in re.finditer(pattern, text, re.IGNORECASE):
            start, end = match.span()
            if any(start < e and s < end for _, s, e in taken) or not _is_word(text, start, end, way):
                continue
            taken.append((name, start, end))
    return sorted(taken, key=lambda item: item[1])


def _is_word(text: str, start: int, end: int, way: str) -> bool:
    """Does a spelling stand as a name here? Latin letters need a word's borders; Thai has none; after a Korean name
    come particles, or a thing that the lexicon knows."""
    script = _script(way)
    if script == "thai":
        return True
    before, after = text[:start], text[end:]
    if before and _script(before[-1]) == script and before[-1].isalnum():
        return False
    if script != "korean":
        return not (after and after[0].isalnum() and _script(after[0]) == script)
    rest = re.sub(r"[^가-힣].*", "", after, flags=re.S)
    if not rest or re.fullmatch(_AFTER_NAME, rest):
        return True
    return any(_lexicon().get(_key(rest[cut:])) is not None for cut in range(3) if _small(rest[:cut]))


def _small(text: str) -> bool:
    return not text or re.fullmatch(_KOREAN_SMALL + "+", text) is not None


def _script(text: str) -> str:
    code = ord(text[0])
    if 0x0E00 <= code <= 0x0E7F:
        return "thai"
    if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF or 0x3130 <= code <= 0x318F:
        return "korean"
    return "latin"


def _nobody(owner: str, people: Mapping, spellings: dict[str, str]) -> str:
    near = _nearest(owner, spellings)
    hint = f"did you mean {near!r}?" if near else f"on file: {', '.join(people) or 'nobody'}"
    return f"nobody on file is called {owner!r}; {hint}"


def _nearest(text: str, spellings: dict[str, str]) -> str | None:
    """The name whose spelling is nearest to the text, or to a word of it, if it is near."""
    best, score = None, _NEAR
    for part in {text, *text.split()}:
        key = _key(part)
        if len(key) < 3:
            continue
        for way, name in spellings.items():
            ratio = difflib.SequenceMatcher(None, key, _key(way)).ratio()
            if ratio >= score:
                best, score = name, ratio
    return best


# ---- things


def _before_name(text: str) -> str:
    """What stands before a name, less the words that tie it to the name."""
    text = re.sub(r"\b(?:of|from|worn by|belonging to)\s*$", "", text.strip(), flags=re.IGNORECASE)
    return re.sub(r"ของ\s*$", "", text.strip())


def _after_name(text: str) -> str:
    text = re.sub(r"^(?:'s|s'|')(?=\s|$)", "", text.lstrip("."))
    match = re.match(r"^(?:씨|님)?" + _KOREAN_SMALL + r"(?=\s|$|[가-힣])", text)
    if match and (match.end() == len(text) or text[match.end()] == " " or _follows_thing(text[match.end() :])):
        text = text[match.end() :]
    return re.sub(r"^(?:ของ|ใส่)", "", text.strip())


def _follows_thing(text: str) -> bool:
    word = re.sub(r"[^가-힣].*", "", text, flags=re.S)
    return _lexicon().get(_key(word)) is not None


def _possessive(text: str) -> tuple[str | None, str]:
    """(owner, thing) of "X's Y", "Y of X", X의 Y, Y ของ X; (None, text) where there is none."""
    for pattern, owner, thing in (
        (r"^(.+?)'s?\s+(.+)$", 1, 2),
        (r"^(?:the\s+)?(.+?)\s+of\s+(?:the\s+)?(.+)$", 2, 1),
        (r"^([가-힣]{2,})의\s*([가-힣].*)$", 1, 2),
        (r"^(.+?)\s*ของ\s*(.+)$", 2, 1),
    ):
        match = re.match(pattern, text, re.IGNORECASE)
        if match:
            return match.group(owner).strip(), match.group(thing).strip()
    return None, text


def _trimmed(text: str) -> str:
    text = " ".join(text.split()).strip(" ,.'")
    return re.sub(r"^(?:the|a|an|her|his|their)\s+", "", text, flags=re.IGNORECASE)


def _thing(text: str, asked: str) -> str:
    """A thing in English: translated if the lexicon knows it, as typed if it is in Latin letters."""
    known = _lexicon().get(_key(text))
    if known is None:
        # A Korean word may carry a particle: 셔츠를.
        stem = re.sub(_KOREAN_SMALL + "$", "", text)
        known = _lexicon().get(_key(stem)) if stem != text else None
    if known is not None:
        return known
    if any(_script(c) != "latin" for c in text if c.isalpha()):
        letters = {unicodedata.normalize("NFD", word): word for word in _lexicon()}  # Korean by its letters
        near = difflib.get_close_matches(unicodedata.normalize("NFD", _key(text)), list(letters), 1, 0.6)
        hint = f"did you mean {letters[near[0]]} ({_lexicon()[letters[near[0]]]})? " if near else ""
        raise InputError(
            f"{text!r} in {asked!r} is not in the lexicon; {hint}Say it in English, or add it to a file named in "
            "IDSEG_LEXICON"
        )
    return text


@lru_cache(maxsize=4)
def _read_lexicon(extra: str) -> dict[str, str]:
    lines = resources.files(__package__).joinpath("data/lexicon.txt").read_text("utf-8").splitlines()
    if extra:
        try:
            lines += Path(extra).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"IDSEG_LEXICON={extra}: cannot be read ({error})") from error
    words: dict[str, str] = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        columns = [[w.strip() for w in column.split(",") if w.strip()] for column in line.split(";")]
        if not columns or not columns[0]:
            raise InputError(f"expected 'English ; Korean, ... ; Thai, ...' in the lexicon, got {line!r}")
        for word in (w for column in columns for w in column):
            words[_key(word)] = columns[0][0]
    return words


def _lexicon() -> dict[str, str]:
    return _read_lexicon(os.environ.get("IDSEG_LEXICON", ""))
