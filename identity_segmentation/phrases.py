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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from .errors import InputError, UnknownPerson

KINDS_OF_PEOPLE = ("woman", "man", "girl", "boy", "child")  # that only an engine which knows words can tell apart
_LONGEST = 200
_NEAR = 0.8  # difflib ratio from which a word is taken for a misspelt name, and suggested

# ---- what may stand around a name or a thing
#
# English passes on what it does not know, so only what is no part of a thing is taken off: "cut out dress" stays.
_ENGLISH_GENITIVE = ("'s", "s'", "'")
_ENGLISH_OF = ("of", "worn by", "held by", "belonging to", "that belongs to", "which belongs to")  # then the owner
_ENGLISH_BEFORE_NAME = (*_ENGLISH_OF, "from", "on", "that", "which")
_ENGLISH_WEARS = ("wears", "wore", "is wearing", "has on", "holds", "is holding", "has", "owns")  # "the hat X wears"
_ENGLISH_REQUEST = (
    *("please", "can you", "could you", "i want", "i want to", "i want to see"),
    *("show me", "give me", "find me", "find", "where is", "where are"),
)
_ENGLISH_ORDER = ("cut out", "crop out", "show", "select", "segment", "extract", "highlight")  # to an article or a name
_ENGLISH_CLOSING = ("please", "for me")
_ENGLISH_ARTICLE = (
    *(f"{every}{article}" for every in ("", "all ", "all of ") for article in ("the", "her", "his", "their")),
    *("a", "an", "every", "each"),
)
_ENGLISH_ALL = ("all", "both", "some", "any")  # only before a thing that the lexicon knows: "all star shoes" stays

# Korean clings to its word, one piece of each row. A piece with a space in front never touches the name: 이서형 is
# somebody else. 랑, 와, 하고 (and) are left out: they name two.
_KOREAN_ADDRESS = (
    *("씨", "님", "언니", "누나", "오빠", "선배", "선배님"),
    *(" 씨", " 님", " 언니", " 누나", " 오빠", " 선배", " 선배님", " 양", " 군", " 형"),
)
_KOREAN_AFTER_NAME = (
    ("이", *_KOREAN_ADDRESS),  # 유진이, as friends say it, or 유진 언니; 유진이 언니 is her sister
    ("네", "꺼", "거", "것", " 꺼", " 거", " 것"),  # theirs
    ("의", "이", "가", "은", "는", "을", "를", "만", "도", "한테", "에게", "께", "아", "야", "요"),
)
# A name of one syllable soon makes another: 진 and 아 are 진아.
_KOREAN_AFTER_SYLLABLE = (_KOREAN_ADDRESS, ("이의", "이가", "의", "이", "가", "은", "는", "을", "를", "네"))
_KOREAN_AFTER_CONSONANT = "이은을아"
_KOREAN_AFTER_VOWEL = "가는를야"
_KOREAN_AFTER_THING = ("의", "이", "가", "은", "는", "을", "를", "만", "도")
_KOREAN_VERB = ("", "보여", "잘라", "오려", "따", "찾아", "골라", "선택해")
_KOREAN_REQUEST = (
    *("좀", "전부", "모두", "누끼", "부탁해", "부탁해요", "부탁드려요", "부탁드립니다"),
    *(f"{verb}{please}" for verb in _KOREAN_VERB for please in ("줘", "줘요", "주세요")),
)
_KOREAN_BEFORE_NAME = ("우리",)
_KOREAN_SURNAME = "배소차백양공연진목손"  # things too: 양 유진 is no sheep of 유진's
_KOREAN_WORN = (  # 유진이 입은 치마
    *("입은", "신은", "쓴", "든", "낀", "찬", "맨", "멘", "착용한"),
    *("입고있는", "신고있는", "쓰고있는", "들고있는", "끼고있는", "차고있는", "매고있는", "메고있는"),
)

# Thai has no spaces.
_THAI_BEFORE_NAME = ("ของ", "ที่")
_THAI_ADDRESS = ("น้อง", "พี่", "คุณ")  # touches the name: พี่ของวอนยอง is her sister
_THAI_AFTER_NAME = (
    *("ของ", "ใส่", "ใส่อยู่", "กำลังใส่", "สวม", "สวมอยู่", "กำลังสวม"),
    *("ถือ", "ถืออยู่", "กำลังถือ", "สะพาย", "สะพายอยู่"),
)
_THAI_REQUEST = ("ช่วย", "ตัด", "แสดง", "โชว์", "เลือก", "ค้นหา", "ขอดู")
_THAI_POLITE = ("ครับ", "คับ", "ค่ะ", "นะครับ", "นะคะ", "นะค่ะ", "หน่อย", "ด้วย", "ให้หน่อย")
_THAI_SYLLABLE = ("คะ",)  # polite too, but also the end of a name (เรย์คะ), so it touches only long words
_THAI_LONG = 5

# What says how many, or which, of a thing. Never without the thing.
_BEFORE_THING = ("모든", *_KOREAN_WORN, "พวก", "ขอ")
_AFTER_THING = (
    *("들", "ๆ", "ทั้งหมด", "ทั้งหลาย"),
    *("ทุกคน", "ทุกตัว", "ทุกอัน", "ทุกใบ", "ทุกคัน", "ทุกคู่", "ทุกชิ้น"),
)


def _any_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, longer ones first."""
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})"


_ARTICLE = re.compile(rf"^{_any_of(_ENGLISH_ARTICLE)}(?:\s+|$)", re.IGNORECASE)
_ALL = re.compile(rf"^{_any_of(_ENGLISH_ALL)}\s+", re.IGNORECASE)
_ORDER = re.compile(rf"^{_any_of(_ENGLISH_ORDER)}(?=$|\s+{_any_of(_ENGLISH_ARTICLE)}(?:\s|$))", re.IGNORECASE)
_POLITE = re.compile(
    rf"^{_any_of(_ENGLISH_REQUEST)}(?=[\s,]|$)|(?:^|[\s,]+){_any_of(_ENGLISH_CLOSING)}$", re.IGNORECASE
)
_GENITIVE = re.compile(rf"^{_any_of(_ENGLISH_GENITIVE)}(?=\s|$)", re.IGNORECASE)
_WEARS = re.compile(rf"^{_any_of(_ENGLISH_WEARS)}$", re.IGNORECASE)
_BEFORE_NAME = re.compile(
    rf"(?:\b{_any_of(_ENGLISH_BEFORE_NAME)}|(?:^|(?<=\s)){_any_of(_KOREAN_BEFORE_NAME)}|{_any_of(_THAI_BEFORE_NAME)})$",
    re.IGNORECASE,
)
_ADDRESS = re.compile(rf"{_any_of(_THAI_ADDRESS)}$")
_SURNAME = re.compile(rf"(?:^|\s){_any_of(_KOREAN_SURNAME)}\s+$")
_THAI_AFTER = re.compile(f"^{_any_of(_THAI_AFTER_NAME)}")
_POSSESSIVES = (  # pattern, group of the owner
    (re.compile(r"^(.+?)'s?\s+(.+)$", re.IGNORECASE), 1),
    (re.compile(rf"^(.+?)\s+{_any_of(_ENGLISH_OF)}\s+(.+)$", re.IGNORECASE), 2),
    (re.compile(r"^([가-힣]{2,})의\s*([가-힣].*)$"), 1),
    (re.compile(r"^(.+?)\s*ของ\s*(.+)$"), 2),
)


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
        return _somebodys(asked, *found[0])
    return _anybodys(asked, people, spellings)


def known_things() -> list[str]:
    """Everything the lexicon translates, in English."""
    return list(dict.fromkeys(_lexicon().values()))


def _somebodys(asked: str, name: str, start: int, end: int) -> Phrase:
    before = _before_name(asked[:start])
    after = _after_name(asked[end:], asked[start:end])
    rest = _trimmed(before if before and _WEARS.match(after) else f"{before} {after}")
    whole = _lexicon().get(_key(_trimmed(asked)))
    if rest and whole and _word_in(rest) is None:
        return Phrase(None, whole)  # "teddy bear" is a thing, even where somebody is called Bear
    return Phrase(name, _thing(rest, asked))


def _anybodys(asked: str, people: Mapping[str, Iterable[str]], spellings: dict[str, str]) -> Phrase:
    wanted = _trimmed(_less(asked, _POLITE, _ORDER)) or asked
    if _lexicon().get(_key(wanted)) is None:
        owner = _owner(wanted)
        # "bottle of water" and "women's shoes" are things; "Karina's shirt" is somebody's.
        somebody = owner and people and not _word_in(owner)
        if owner and somebody and (_script(owner) != "latin" or owner[0].isupper() or _nearest(owner, spellings)):
            raise UnknownPerson(_nobody(owner, people, spellings))
        near = _nearest(wanted, spellings)
        if near:
            raise UnknownPerson(f"nobody on file is called {wanted!r}; did you mean {near!r}?")
    thing = _thing(wanted, asked)
    if thing is None:
        raise _unknown(wanted, asked)
    return Phrase(None, thing)


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
    before, after = text[:start], text[end:]
    if script == "thai":
        return not (len(way) < _THAI_LONG and after.startswith(_THAI_SYLLABLE))
    if before and _script(before[-1]) == script and before[-1].isalnum():
        return False
    if script != "korean":
        return not (after and after[0].isalnum() and _script(after[0]) == script)
    return not _SURNAME.search(before) and _less_particles(after, text[start:end]) is not None


def _less_particles(after: str, name: str) -> str | None:
    """What follows a name, less the Korean that clings to it; None where both are one longer word: 이서진, 유진희."""
    ends = {0}
    for row in _KOREAN_AFTER_NAME if len(_key(name)) > 1 else _KOREAN_AFTER_SYLLABLE:
        ends |= {
            end + len(piece)
            for end in ends
            for piece in row
            if after.startswith(piece, end) and _fits(piece, (name + after[:end])[-1])
        }
    rests = [after[end:] for end in sorted(ends) if _ends_here(after[end:], touches=end == 0)]
    words = [_word_in(rest) for rest in rests]
    if "" in words:
        return ""
    known = [rest for rest, word in zip(rests, words, strict=True) if word]
    return next(iter([*known, *reversed(rests)]), None)


def _ends_here(rest: str, touches: bool) -> bool:
    """May a name and its particles end where this follows? A thing of one syllable that touches the name may be the
    end of another name: 이서연 is no kite of 이서's."""
    match = re.match(r"[가-힣]+", rest)
    if not match:
        return True
    word = _word_in(match.group(), in_front=False)
    return word is not None and not (touches and len(word) == 1)


def _fits(piece: str, last: str) -> bool:
    """Korean has one particle for after a consonant and one for after a vowel: 유진은, 이서는; 이서은 is a name."""
    if not "가" <= last <= "힣":
        return True
    consonant = (ord(last) - ord("가")) % 28 > 0
    return piece[0] not in (_KOREAN_AFTER_VOWEL if consonant else _KOREAN_AFTER_CONSONANT)


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


def _less(text: str, *patterns: re.Pattern[str]) -> str:
    """A text without what the patterns match, as often as they do."""
    shorter = text.strip(" ,")
    for pattern in patterns:
        shorter = pattern.sub("", shorter).strip(" ,")
    return shorter if shorter == text else _less(shorter, *patterns)


def _before_name(text: str) -> str:
    """What stands before a name, less the request, and the words that tie it to the name."""
    text = _ADDRESS.sub("", _less(text, _POLITE, _ORDER)).strip()
    return _BEFORE_NAME.sub("", text).strip()


def _after_name(text: str, name: str) -> str:
    """What stands after a name, less what clings to the name, and the polite words."""
    text = _GENITIVE.sub("", text.lstrip("."))
    rest = _less_particles(text, name)
    return _THAI_AFTER.sub("", _less(text if rest is None else rest, _POLITE))


def _owner(text: str) -> str | None:
    """The owner in "X's Y", "Y of X", X의 Y, Y ของ X."""
    for pattern, group in _POSSESSIVES:
        match = pattern.match(text)
        if match:
            return _trimmed(match.group(group)) or None
    return None


def _trimmed(text: str) -> str:
    return _ARTICLE.sub("", " ".join(text.split()).strip(" ,.'"))


def _word_in(text: str, in_front: bool = True) -> str | None:
    """The word of the lexicon that a text is, whatever stands around it: 신발들을, เสื้อๆ, 소 보여줘.

    Args:
        text: a thing, perhaps.
        in_front: whether something may stand before the word too.

    Returns:
        The word as the lexicon is keyed; "" if the text is only polite; None if it is anything else.
    """
    asking, which = (_THAI_REQUEST, _BEFORE_THING) if in_front else ((), ())
    polite = (*_KOREAN_REQUEST, *_THAI_POLITE)
    forms = _all_forms([_key(text)], lambda form: [*_cut(form, asking, polite), *_cut_syllable(form)])
    forms += [stem for form in forms for stem in _cut(form, (), _KOREAN_AFTER_THING) if stem]
    forms = _all_forms(forms, lambda form: filter(None, _cut(form, which, _AFTER_THING)))
    return next((form for form in forms if form in _lexicon()), "" if "" in forms else None)


def _all_forms(forms: list[str], shorter: Callable[[str], Iterable[str]]) -> list[str]:
    """The forms and all that can be cut from them, the longer ones first."""
    found = dict.fromkeys(forms)
    queue = list(found)
    for form in queue:
        new = [stem for stem in dict.fromkeys(shorter(form)) if stem not in found]
        found.update(dict.fromkeys(new))
        queue += new
    return queue


def _cut(form: str, fronts: Iterable[str], ends: Iterable[str]) -> list[str]:
    cut = [form.removeprefix(piece) for piece in fronts if form.startswith(piece)]
    stems = [(form.removesuffix(piece), piece) for piece in ends if form.endswith(piece)]
    return cut + [stem for stem, piece in stems if not stem or _fits(piece, stem[-1])]


def _cut_syllable(form: str) -> list[str]:
    return [stem for stem in _cut(form, (), _THAI_SYLLABLE) if not stem or len(stem) >= _THAI_LONG]


def _thing(text: str, asked: str) -> str | None:
    """A thing in English: translated if the lexicon knows it, as typed if in Latin letters; None if there is none.

    Raises:
        InputError: it is in other letters, and the lexicon does not know it.
    """
    word = _word_in(text)
    if word is None:
        word = _word_in(_ALL.sub("", text))
    if word is not None:
        return _lexicon()[word] if word else None
    if any(_script(c) != "latin" for c in text if c.isalpha()):
        raise _unknown(text, asked)
    shouted = all(c.isupper() for c in asked if c.isalpha())
    return text.lower() if shouted else text


def _unknown(text: str, asked: str) -> InputError:
    letters = {unicodedata.normalize("NFD", word): word for word in _lexicon()}  # Korean by its letters
    near = difflib.get_close_matches(unicodedata.normalize("NFD", _key(text)), list(letters), 1, 0.6)
    hint = f"did you mean {letters[near[0]]} ({_lexicon()[letters[near[0]]]})? " if near else ""
    return InputError(
        f"{text!r} in {asked!r} is not in the lexicon; {hint}Say it in English, or add it to a file named in "
        "IDSEG_LEXICON"
    )


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
