"""What people type, and what is meant: names in three scripts, things, and both together."""

from __future__ import annotations

import unicodedata

import pytest

from identity_segmentation.errors import InputError, UnknownPerson
from identity_segmentation.phrases import Phrase, known_things, parse_phrase

IVE = {
    "Wonyoung": ["Jang Wonyoung", "장원영", "원영", "วอนยอง", "จางวอนยอง"],
    "Yujin": ["An Yujin", "안유진", "유진", "ยูจิน"],
    "Rei": ["레이", "เรย์"],
    "Gaeul": ["가을", "กาอึล"],
    "Liz": ["리즈", "ลิซ"],
    "Leeseo": ["이서", "อีซอ"],
}


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("Wonyoung", "Wonyoung", None),
        ("wonyoung", "Wonyoung", None),
        ("  WONYOUNG. ", "Wonyoung", None),
        ("Jang Wonyoung", "Wonyoung", None),
        ("jangwonyoung", "Wonyoung", None),
        ("장원영", "Wonyoung", None),
        ("장 원영", "Wonyoung", None),
        ("원영", "Wonyoung", None),
        ("วอนยอง", "Wonyoung", None),
        ("Wonyoung's shirt", "Wonyoung", "shirt"),
        ("Wonyoung’s shirt", "Wonyoung", "shirt"),
        ("“Wonyoung's Shirts”", "Wonyoung", "shirt"),
        ("the shirt of Wonyoung", "Wonyoung", "shirt"),
        ("shirt of Jang Wonyoung", "Wonyoung", "shirt"),
        ("shirt Wonyoung", "Wonyoung", "shirt"),
        ("Wonyoung shirt", "Wonyoung", "shirt"),
        ("Jang Wonyoung's high heels", "Wonyoung", "high heels"),
        ("Wonyoung's glittering silver mic stand", "Wonyoung", "glittering silver mic stand"),
        ("원영의 셔츠", "Wonyoung", "shirt"),
        ("원영의셔츠", "Wonyoung", "shirt"),
        ("원영이 셔츠", "Wonyoung", "shirt"),
        ("원영 셔츠", "Wonyoung", "shirt"),
        ("원영셔츠", "Wonyoung", "shirt"),
        ("장원영의 머리", "Wonyoung", "hair"),
        ("안유진의 치마를", "Yujin", "skirt"),
        ("가을이 신발", "Gaeul", "shoes"),
        ("이서의 마이크", "Leeseo", "microphone"),
        ("레이의 부츠", "Rei", "boots"),
        ("เสื้อของวอนยอง", "Wonyoung", "shirt"),
        ("เสื้อ ของ วอนยอง", "Wonyoung", "shirt"),
        ("วอนยองเสื้อ", "Wonyoung", "shirt"),
        ("กระโปรงของยูจิน", "Yujin", "skirt"),
        ("รองเท้าลิซ", "Liz", "shoes"),
        ("Wonyoung의 셔츠", "Wonyoung", "shirt"),
        ("원영's shirt", "Wonyoung", "shirt"),
        ("เสื้อของ Wonyoung", "Wonyoung", "shirt"),
        ("woman", None, "woman"),
        ("여자", None, "woman"),
        ("ผู้หญิง", None, "woman"),
        ("red car", None, "red car"),
        ("cow", None, "cow"),
        ("cows", None, "cow"),
        ("the light stick", None, "light stick"),
        ("reindeer", None, "reindeer"),
        ("lizard", None, "lizard"),
        ("🎤 Wonyoung", "Wonyoung", None),
    ],
)
def test_a_phrase_means_this(text, person, thing):
    for form in ("NFC", "NFD"):
        assert parse_phrase(unicodedata.normalize(form, text), IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", InputError, "expected a name"),
        ("   ", InputError, "expected a name"),
        ("🎤", InputError, "expected a name"),
        ("?!", InputError, "expected a name"),
        ("Wonyoung and Yujin", InputError, "one person at a time.*Wonyoung and Yujin"),
        ("원영 유진", InputError, "one person at a time"),
        ("shirt " * 80, InputError, "at most 200 characters"),
        ("Wonyuong", UnknownPerson, "did you mean 'Wonyoung'"),
        ("Wonyuong's shirt", UnknownPerson, "did you mean 'Wonyoung'"),
        ("the shirt of Karina", UnknownPerson, "called 'Karina'; on file: Wonyoung"),
        ("카리나의 셔츠", UnknownPerson, "카리나"),
        ("เสื้อของคารินา", UnknownPerson, "คารินา"),
        ("원영의 뿅망치", InputError, "not in the lexicon"),
        ("셔쯔", InputError, "did you mean 셔츠"),
    ],
)
def test_what_cannot_be_understood_is_said(text, error, says):
    with pytest.raises(error, match=says):
        parse_phrase(text, IVE)


@pytest.mark.parametrize("name", ["Weiß", "O’Brien", "Robert Downey Jr.", "IU💜", "Zoë", "İrem"])
def test_people_answer_to_their_own_names_however_they_are_written(name):
    people = {name: [], "Rose": []}
    assert parse_phrase(name, people) == Phrase(name, None)
    assert parse_phrase(f"{name}'s hat", people) == Phrase(name, "hat")


@pytest.mark.parametrize("text", ["bottle of water", "pair of glasses", "cup of coffee", "women's shoes", "rope"])
def test_things_that_look_like_somebodys_are_things(text):
    assert parse_phrase(text, IVE | {"Rose": []}).person is None


def test_names_are_data_whatever_is_in_them():
    people = {"a.*b(": ["[x]"], "<b>Ada</b>": []}
    assert parse_phrase("a.*b('s hat", people) == Phrase("a.*b(", "hat")
    assert parse_phrase("<b>Ada</b>'s hat", people) == Phrase("<b>Ada</b>", "hat")


def test_the_lexicon_is_large_and_can_be_extended(tmp_path, monkeypatch):
    assert len(known_things()) >= 120
    extra = tmp_path / "own 사전.txt"
    extra.write_text("# mine\ntoy hammer, squeaky hammer ; 뿅망치 ; ค้อนของเล่น\n", "utf-8")
    monkeypatch.setenv("IDSEG_LEXICON", str(extra))
    assert parse_phrase("원영의 뿅망치", IVE) == Phrase("Wonyoung", "toy hammer")
    monkeypatch.setenv("IDSEG_LEXICON", str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="IDSEG_LEXICON"):
        parse_phrase("원영의 뿅망치", IVE)
