"""What people type, and what is meant: names in three scripts, things, and both together."""

from __future__ import annotations

import unicodedata
from importlib import resources

import pytest

from identity_segmentation import phrases
from identity_segmentation.engines import noun_named
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


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("YUJIN'S SKIRT", "Yujin", "skirt"),
        ("YUJIN’S SKIRT", "Yujin", "skirt"),
        ("LIZ'S GLITTERING STAND", "Liz", "glittering stand"),
        ("THE GIRLS' SHOES", None, "girls' shoes"),
        ("RED CAR", None, "red car"),
        ("the skirt that belongs to Yujin", "Yujin", "skirt"),
        ("the hat on Yujin", "Yujin", "hat"),
        ("the skirt that Yujin is wearing", "Yujin", "skirt"),
        ("skirt Yujin wears", "Yujin", "skirt"),
        ("the Wonyoung", "Wonyoung", None),
        ("please Wonyoung", "Wonyoung", None),
        ("Yujin's skirt, please", "Yujin", "skirt"),
        ("show me Yujin's skirt", "Yujin", "skirt"),
        ("PLEASE SHOW ME YUJIN'S SKIRT", "Yujin", "skirt"),
        ("Could you please cut out the skirt of Yujin for me?", "Yujin", "skirt"),
        ("cut out Wonyoung", "Wonyoung", None),
        ("find Rei", "Rei", None),
        ("all of Yujin's clothes", "Yujin", "clothes"),
        ("all the cows", None, "cow"),
        ("all cows", None, "cow"),
        ("every cow", None, "cow"),
        ("cut out the cows", None, "cow"),
        ("show me the red car please", None, "red car"),
    ],
)
def test_english_may_shout_ask_politely_and_ask_for_all(text, person, thing):
    assert parse_phrase(text, IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("skirt belonging to Yujin", "Yujin", "skirt"),
        ("Yujin her skirt", "Yujin", "skirt"),
        ("yujin's SKIRT", "Yujin", "skirt"),
        ("LIZ' BAG", "Liz", "bag"),
        ("Yujin's LED stand", "Yujin", "LED stand"),
        ("the girls' shoes", None, "girls' shoes"),
        ("cut out dress", None, "cut out dress"),
        ("Yujin's cut out dress", "Yujin", "cut out dress"),
        ("crop top", None, "crop top"),
        ("show dog", None, "show dog"),
        ("all star shoes", None, "all star shoes"),
        ("Yujin's highlight", "Yujin", "highlight"),
        ("please", None, "please"),
        ("the", None, "the"),
    ],
)
def test_english_words_that_belong_to_a_thing_stay(text, person, thing):
    assert parse_phrase(text, IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("유진이의 치마", "Yujin", "skirt"),
        ("유진이네", "Yujin", None),
        ("유진이네 치마", "Yujin", "skirt"),
        ("유진 언니의 치마", "Yujin", "skirt"),
        ("유진언니의", "Yujin", None),
        ("유진언니의 치마", "Yujin", "skirt"),
        ("유진이꺼 치마", "Yujin", "skirt"),
        ("유진이 거", "Yujin", None),
        ("치마 유진이 거", "Yujin", "skirt"),
        ("유진 씨의 치마", "Yujin", "skirt"),
        ("유진 양의 치마", "Yujin", "skirt"),
        ("유진아", "Yujin", None),
        ("이서야", "Leeseo", None),
        ("유진이는", "Yujin", None),
        ("유진이를", "Yujin", None),
        ("유진한테", "Yujin", None),
        ("유진이만", "Yujin", None),
        ("레이만", "Rei", None),
        ("유진이요", "Yujin", None),
        ("우리 유진이 치마", "Yujin", "skirt"),
        ("Yujin언니의 치마", "Yujin", "skirt"),
        ("유진이 입은 치마", "Yujin", "skirt"),
        ("유진이가 입고 있는 치마", "Yujin", "skirt"),
        ("유진 치마 좀", "Yujin", "skirt"),
        ("유진이 치마만 잘라줘", "Yujin", "skirt"),
        ("유진이의 치마를 보여 주세요", "Yujin", "skirt"),
        ("유진이 찾아줘", "Yujin", None),
        ("유진이 누끼 따줘", "Yujin", None),
        ("유진 양말 보여줘", "Yujin", "sock"),
        ("Yujin's skirt 보여줘", "Yujin", "skirt"),
        ("치마 좀 보여주세요", None, "skirt"),
        ("여자들", None, "woman"),
        ("소들", None, "cow"),
        ("신발들을", None, "shoes"),
        ("모든 소들을 찾아줘", None, "cow"),
    ],
)
def test_korean_particles_address_and_requests_may_be_stacked(text, person, thing):
    for form in ("NFC", "NFD"):
        assert parse_phrase(unicodedata.normalize(form, text), IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("유진님의", "Yujin", None),
        ("유진의 치마를", "Yujin", "skirt"),
        ("유진 양말", "Yujin", "sock"),
        ("유진님의 치마", "Yujin", "skirt"),
        ("유진이치마", "Yujin", "skirt"),
        ("유진이가방", "Yujin", "bag"),
        ("유진의자", "Yujin", "chair"),
        ("유진이마", "Yujin", "forehead"),
        ("레이가방", "Rei", "bag"),
        ("유진이 눈", "Yujin", "eye"),
        ("유진 가위", "Yujin", "scissors"),
        ("치마만", None, "skirt"),
        ("차를", None, "car"),
        ("양", None, "sheep"),
    ],
)
def test_korean_takes_the_longer_thing(text, person, thing):
    assert parse_phrase(text, IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "person", "thing"),
    [
        ("เสื้อน้องวอนยอง", "Wonyoung", "shirt"),
        ("เสื้อของพี่วอนยอง", "Wonyoung", "shirt"),
        ("shirt of พี่วอนยอง", "Wonyoung", "shirt"),
        ("พี่วอนยอง", "Wonyoung", None),
        ("คุณวอนยอง", "Wonyoung", None),
        ("วอนยองครับ", "Wonyoung", None),
        ("วอนยองค่ะ", "Wonyoung", None),
        ("วอนยองคะ", "Wonyoung", None),
        ("ลิซ คะ", "Liz", None),
        ("ลิซนะคะ", "Liz", None),
        ("เสื้อวอนยองหน่อย", "Wonyoung", "shirt"),
        ("เสื้อที่วอนยองใส่", "Wonyoung", "shirt"),
        ("เสื้อที่น้องวอนยองใส่อยู่นะคะ", "Wonyoung", "shirt"),
        ("ร่มที่วอนยองถือ", "Wonyoung", "umbrella"),
        ("ขอเสื้อวอนยองหน่อยค่ะ", "Wonyoung", "shirt"),
        ("ช่วยตัดน้องวอนยองหน่อยครับ", "Wonyoung", None),
        ("เสื้อทุกตัวของวอนยอง", "Wonyoung", "shirt"),
        ("เสื้อๆ", None, "shirt"),
        ("เด็กๆ", None, "child"),
        ("เด็ก ๆ", None, "child"),
        ("พวกเด็กๆ", None, "child"),
        ("วัวทั้งหมด", None, "cow"),
        ("วัวทุกตัวครับ", None, "cow"),
    ],
)
def test_thai_may_address_be_polite_and_speak_of_many(text, person, thing):
    assert parse_phrase(text, IVE) == Phrase(person, thing)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("이서진", UnknownPerson, "did you mean 'Leeseo'"),
        ("이서은", UnknownPerson, "did you mean 'Leeseo'"),
        ("배 유진", UnknownPerson, "did you mean 'Yujin'"),
        ("차은", InputError, "not in the lexicon"),
        ("skirt belonging to Karina", UnknownPerson, "called 'Karina'"),
        ("show me Karina's skirt", UnknownPerson, "called 'Karina'"),
    ],
)
def test_somebody_else_is_not_taken_for_a_name_on_file_or_for_a_thing(text, error, says):
    with pytest.raises(error, match=says):
        parse_phrase(text, IVE)


@pytest.mark.parametrize(
    "text",
    [
        *("Gaeuls' shoes", "Adams' hat"),  # a surname perhaps
        *("이서연", "이서연이", "이서아", "이서찬모자", "이서진의 모자", "이서형", "양 유진", "배유진", "차은이"),
        *("유진이 언니의 치마", "유진의 언니", "พี่ของวอนยอง"),  # her sister
        *("유진이랑", "유진이 지워줘", "보여줘", "ครับ", "ลิซคะ", "วอนยองทั้งหมด", "유진 거울"),
    ],
)
def test_what_may_be_somebody_or_something_else_stays_an_error(text):
    with pytest.raises((InputError, UnknownPerson)):
        parse_phrase(text, IVE | {"Adam": []})


@pytest.mark.parametrize("text", ["수야", "수도", "수만", "수진", "수연"])
def test_a_name_of_one_syllable_is_not_found_in_a_longer_one(text):
    with pytest.raises((InputError, UnknownPerson)):
        parse_phrase(text, {"Soo": ["수"]})
    assert parse_phrase("수가", {"Soo": ["수"]}) == Phrase("Soo", None)


def test_names_win_over_things_and_requests_but_not_inside_a_thing():
    people = {"Bear": [], "Bird": [], "Teddy": [], "Please": [], "Show Me": [], "แก๊ป": [], "ตา": [], "หญิง": []}
    assert parse_phrase("bear", people) == Phrase("Bear", None)
    assert parse_phrase("Bird's bird", {"Larry": ["Larry Bird"]}) == Phrase(None, "Bird's bird")
    assert parse_phrase("teddy bear", {"Teddy": []}) == Phrase("Teddy", "bear")
    assert parse_phrase("please please", {"Please": []}) == Phrase("Please", None)
    assert parse_phrase("show me", people) == Phrase("Show Me", None)
    assert parse_phrase("หมวกแก๊ป", people) == Phrase("แก๊ป", "hat")
    assert parse_phrase("teddy bear", {"Bear": []}) == Phrase(None, "teddy bear")
    assert parse_phrase("ตุ๊กตา", people) == Phrase(None, "doll")
    assert parse_phrase("ผู้หญิง", people) == Phrase(None, "woman")


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


# What the lexicon calls by another word than a detector trained on COCO does.
COCO = """
person, people, 사람, คน; bicycle, bicycles, 자전거, จักรยาน; car, cars, 자동차, รถ
motorcycle, motorcycles, 오토바이, มอเตอร์ไซค์; airplane, airplanes, 비행기, เครื่องบิน; bus, buses, 버스, รถบัส
train, trains, 기차, รถไฟ; truck, trucks, 트럭, รถบรรทุก; boat, boats, 보트, เรือ
traffic light, traffic lights, 신호등, ไฟจราจร; fire hydrant, fire hydrants, 소화전, หัวดับเพลิง
stop sign, stop signs, 정지표지판, ป้ายหยุด; parking meter, parking meters, 주차 미터기, มิเตอร์จอดรถ
bench, benches, 벤치, ม้านั่ง; bird, birds, 새, นก; cat, cats, 고양이, แมว; dog, dogs, 개, หมา; horse, horses, 말, ม้า
sheep, sheep, 양, แกะ; cow, cows, 소, วัว; elephant, elephants, 코끼리, ช้าง; bear, bears, 곰, หมี
zebra, zebras, 얼룩말, ม้าลาย; giraffe, giraffes, 기린, ยีราฟ; backpack, backpacks, 배낭, เป้
umbrella, umbrellas, 우산, ร่ม; handbag, handbags, 핸드백, กระเป๋าถือ; tie, ties, 넥타이, เนคไท
suitcase, suitcases, 여행가방, กระเป๋าเดินทาง; frisbee, frisbees, 프리스비, จานร่อน; skis, ski, 스키, สกี
snowboard, snowboards, 스노보드, สโนว์บอร์ด; sports ball, sports balls, 공, ลูกบอล; kite, kites, 연, ว่าว
baseball bat, baseball bats, 야구 방망이, ไม้เบสบอล; baseball glove, baseball gloves, 야구 글러브, ถุงมือเบสบอล
skateboard, skateboards, 스케이트보드, สเก็ตบอร์ด; surfboard, surfboards, 서프보드, กระดานโต้คลื่น
tennis racket, tennis rackets, 테니스 라켓, ไม้เทนนิส; bottle, bottles, 병, ขวด; wine glass, wine glasses, 와인잔, แก้วไวน์
cup, cups, 컵, ถ้วย; fork, forks, 포크, ส้อม; knife, knives, 칼, มีด; spoon, spoons, 숟가락, ช้อน; bowl, bowls, 그릇, ชาม
banana, bananas, 바나나, กล้วย; apple, apples, 사과, แอปเปิล; sandwich, sandwiches, 샌드위치, แซนด์วิช
orange, oranges, 오렌지, ส้ม; broccoli, broccoli, 브로콜리, บรอกโคลี; carrot, carrots, 당근, แครอท
hot dog, hot dogs, 핫도그, ฮอทดอก; pizza, pizzas, 피자, พิซซ่า; donut, donuts, 도넛, โดนัท; cake, cakes, 케이크, เค้ก
chair, chairs, 의자, เก้าอี้; couch, couches, 소파, โซฟา; potted plant, potted plants, 화분, กระถางต้นไม้
bed, beds, 침대, เตียง; dining table, dining tables, 식탁, โต๊ะอาหาร; toilet, toilets, 변기, ชักโครก; tv, tvs, 티비, ทีวี
laptop, laptops, 노트북, แล็ปท็อป; mouse, mice, 마우스, เมาส์; remote, remotes, 리모컨, รีโมท
keyboard, keyboards, 키보드, คีย์บอร์ด; cell phone, cell phones, 휴대폰, มือถือ; microwave, microwaves, 전자레인지, ไมโครเวฟ
oven, ovens, 오븐, เตาอบ; toaster, toasters, 토스터, เครื่องปิ้งขนมปัง; sink, sinks, 싱크대, อ่างล้างจาน
refrigerator, refrigerators, 냉장고, ตู้เย็น; book, books, 책, หนังสือ; clock, clocks, 벽시계, นาฬิกาแขวน
vase, vases, 꽃병, แจกัน; scissors, scissors, 가위, กรรไกร; teddy bear, teddy bears, 곰인형, ตุ๊กตาหมี
hair drier, hair driers, 드라이기, ไดร์เป่าผม; toothbrush, toothbrushes, 칫솔, แปรงสีฟัน
"""


@pytest.mark.parametrize("line", [words.strip() for words in COCO.replace("\n", ";").split(";") if words.strip()])
def test_the_nouns_of_coco_are_known_in_three_languages(line):
    noun, *ways = [word.strip() for word in line.split(",")]
    assert len(ways) == 3
    for word in (noun, *ways, noun.upper(), f"all the {ways[0]}", f"{ways[1]}들", f"{ways[2]}ทั้งหมด"):
        thing = parse_phrase(word, IVE).thing
        assert noun_named(thing or "") == noun


def test_no_word_of_the_lexicon_stands_for_two_things():
    text = resources.files("identity_segmentation").joinpath("data/lexicon.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = [word for line in lines for word in {phrases._key(word) for word in line.replace(";", ",").split(",")}]
    assert sorted(words) == sorted(set(words))
