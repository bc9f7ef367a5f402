"""The page in Korean and Thai: every sentence that a visitor can meet has a translation, and it is right."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

import gradio as gr

from identity_segmentation import doctor, errors
from identity_segmentation.audit_report import in_words
from identity_segmentation.looks import Look, status_of
from identity_segmentation.types import BuildReport, PhotoVerdict
from identity_segmentation.ui.page import safely
from identity_segmentation.ui.speech import (
    catalogue,
    error_in_language,
    in_language,
    language_of,
    said,
    told,
)
from identity_segmentation.video.views import VIEWS

PACKAGE = ROOT / "identity_segmentation"
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")

# Modules whose sentences no visitor meets, and why. A module that is not here has a translation for all it says.
OFF_THE_PAGE = {
    "video/handoff/cut": "idseg cut",
    "batch": "idseg batch",
    "batch/": "idseg batch",
    "cli/": "the command line",
    "__init__": "attributes of the package",
    "__main__": "the command line",
    "cards": "the notebook",
    "notebook": "the notebook",
    "settings": "read before the page is served",
    "results": "folders of results, of the command line",
    "colours": "about arguments of our own calls",
    "labels/window": "a window of its own",
    "labels/importing": "idseg label import",
    "labels/importing/": "idseg label import",
    "labels/export/": "what the files hold, and folders that the page makes anew for each export",
    "video/box_tracks": "idseg track",
    "video/clip_settings": "idseg clips",
    "video/clips": "idseg clips",
    "video/cryptomatte": "frames of idseg video",
    "video/exr": "frames of idseg video",
    "video/finders": "idseg clips",
    "video/many": "idseg video of many files",
    "video/sources": "idseg video of many files",
    "ui/serving": "said where the server is started",
}
# Modules whose strings are words for engines, people or files; what they raise counts all the same.
NO_SENTENCES = (
    "engines/_", "engines/embedded_", "engines/nets", "kinds", "metadata", "phrases", "photo_writing", "fonts",
    "blurring", "video/covering", "audit_report", "pages", "types",
)  # fmt: skip
# Strings of those modules that look like sentences and are none.
NOT_SAID = {
    "engines/sam3_hf": {  # what the engine calls itself
        "boxes with points", "words, and boxes by example; no video", "{}, words and video",
        "SAM 3 through transformers ({}): {}, on {} in {}",
    },
    "engines/sam3_official": {
        "boxes with points", "SAM 3, Meta's package ({}): {}, words and video, on {} in bfloat16",
    },
    "engines/sam31": {
        'pip install "sam3 @ git+https://github.com/facebookresearch/sam3@{}"',
        "SAM 3.1, Meta's code ({}): video, sixteen people a pass, on {} in bfloat16; pictures by {}",
    },
    "engines/second_looks": {"blazeface full range {}"},
    "people/check": {  # the table of the command line; the page shows the findings
        "Median similarity of the photos of each (row) to each (column); named, unknown, wrong: of their photos, "
        "each without itself on file.",
        "{}  named unknown wrong level", "  named unknown wrong level",
    },
    "people/gallery": {"idseg people build --anew --face-engine {}{}"},  # commands
    "video/clicks": {"idseg click OUT VIDEO"},
    "video/programs": {  # what the command line says of a file that was made
        "import it and lay it over the plate", "{}; its alpha is straight (unmatted)",
        "import it in place of the plate",
        "set it as an external matte (luma) of the plate on the Color page",
        "{}; in Interpret Footage the alpha is Straight - Unmatted", "put it into a <video> element",
        "put it into a <video> element; Chrome, Edge and Firefox show its transparency, Safari does not",
        "Nuke, Fusion and other compositors", "CapCut and other simple editors", "import it",
        "read the frames as a sequence; a layer a person, and Cryptomatte, are in each",
        "overlay it and key its green out (Chroma key)",
    },
    "video/handoff/boxes": {"the thing that was followed"},  # what the files hold
    "video/handoff/coco_video": {"people on screen in {}"},
    "video/render": {  # about arguments of our own calls
        "unknown keyword {}; expected {}", "expected segments from 0 to {}, got {} to {}",
    },
    "ui/toolkit": {"no stub is wanted"},  # between our own lines
    "ui/page": {'the web page needs gradio; run: pip install ".[ui]"'},  # no page without it
    "ui/site": {"# Identity-aware segmentation", "Identity-aware segmentation"},  # a name
    "ui/pictures": {"face, pixels", "rests on"},  # headings of a table
}  # fmt: skip


def english(node: ast.AST) -> str | None:
    """The text of a string in the source, with "{}" for what is put into it; None if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = english(node.left), english(node.right)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    return None


class Strings(ast.NodeVisitor):
    """Every text of a module that is raised as an error of ours, or reads as a sentence; no docstrings, no logs."""

    QUIET = ("logger.", "cards.", "print", "warnings.", "re.compile", "gr.")

    def __init__(self):
        self.raised: list[tuple[int, str]] = []
        self.others: list[tuple[int, str]] = []

    def visit_FunctionDef(self, node):
        if node.name not in ("__repr__", "_repr_html_"):  # for notebooks and developers
            self.generic_visit(node)

    def visit_Expr(self, node):
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Call(self, node):
        if not ast.unparse(node.func).startswith(self.QUIET):
            self.generic_visit(node)

    def visit_Raise(self, node):
        call = node.exc
        if isinstance(call, ast.Call) and hasattr(errors, ast.unparse(call.func)) and call.args:
            text = english(call.args[0])
            if text is not None:
                self.raised.append((node.lineno, text))
            call.args = call.args[1:] if text is not None and "{}" not in text else call.args
        self.generic_visit(node)

    def _text(self, node):
        text = english(node)
        if (
            text is not None
            and re.search(r"[a-z]{2,}[,;:]? [a-z]{2,}", text)
            and not text.startswith(("<", "() =>", "async "))
        ):
            self.others.append((node.lineno, text))

    def visit_JoinedStr(self, node):
        self._text(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_BinOp(self, node):
        self._text(node)
        self.generic_visit(node)

    def visit_Constant(self, node):
        self._text(node)


def strings(path: Path) -> Strings:
    found = Strings()
    found.visit(ast.parse(path.read_text("utf-8")))
    return found


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if name.endswith("__init__"):
            name = name.replace("/__init__", "") or name
        yield name, path


def templates() -> list[str]:
    """The catalogue's English, with "{}" for what is put in, and its words."""
    sentences = [SLOT.sub("{}", text) for text in catalogue()["sentences"]]
    return sentences + [word for words in catalogue()["words"].values() for word in words]


FILLERS = ("7", "x", *(next(iter(words)) for words in catalogue()["words"].values()))


def is_translated(text: str, known: list[str], whole: str) -> bool:
    """Does a text of the source come out in Korean? It is filled in and asked for; where what is put in is a
    sentence of its own, its sentences must stand in the catalogue word by word."""
    text = text.strip()
    words = [part.strip(" .;:,'()") for part in text.split("{}") if re.search(r"[a-z]{2,} [a-z]{2,}", part)]
    for filler in FILLERS:
        answer = in_language(text.replace("{}", filler), "ko")
        if (words and words[0] not in answer) or (not words and answer != text.replace("{}", filler)):
            return True  # a command at the end stays as it is
    pieces = [piece for piece in re.split(r"\n|\. |; ", text) if piece.strip(" .;{}")]
    return all(re.search(pattern_of(piece), whole) for piece in pieces)


def pattern_of(text: str) -> str:
    return ".*?".join(re.escape(part) for part in text.strip(" .;").split("{}"))


@pytest.fixture(scope="module")
def untranslated():
    known = templates()
    whole = "\n\n".join(known)
    missing = []
    for name, path in modules():
        if name in OFF_THE_PAGE or name.startswith(tuple(key for key in OFF_THE_PAGE if key.endswith("/"))):
            continue
        found = strings(path)
        spoken = found.raised + ([] if name.startswith(NO_SENTENCES) else found.others)
        for line, text in spoken:
            if text not in NOT_SAID.get(name, ()) and len(re.findall(r"[a-z]{2,}", text)) > 1:
                missing += [] if is_translated(text, known, whole) else [f"{name}:{line}: {text}"]
    return sorted(set(missing))


# ---- nothing is forgotten


def test_everything_that_a_visitor_can_be_told_is_in_the_catalogue(untranslated):
    assert not untranslated, "add these to data/speech.json, in Korean and Thai:\n" + "\n".join(untranslated)


def test_a_new_sentence_would_be_noticed():
    known = templates()
    assert not is_translated("{} was eaten by a crocodile; give another one", known, "\n\n".join(known))
    assert not is_translated("choose a crocodile first", known, "\n\n".join(known))


def test_no_sentence_of_the_catalogue_is_one_that_nothing_says():
    everything = [text for _, path in modules() for text in _texts(path)]
    patterns = [re.compile(pattern_of(text), re.DOTALL) for text in everything if re.search(r"[a-z]{2,}", text)]
    foreign = {"No such file or directory", "Permission denied", "No space left on device", "Read-only file system"}
    unsaid = []
    for sentence in catalogue()["sentences"]:
        plain = SLOT.sub("7", sentence).strip()
        if sentence in foreign | COMPOSED or any(pattern.search(plain) for pattern in patterns):
            continue
        unsaid.append(sentence)
    assert not unsaid


# Put together by the code out of parts that are no sentences.
COMPOSED = {
    "{name} {seconds:number} s", "{from:number} - {to:number}: {rest:said}",
    "{name}'s {thing:thing}", "{photo}  {verdict:verdict}  {detail:said}",
    "{state:marker}  {what:finding}  {detail:said}",
}  # fmt: skip


def _texts(path):
    return [text for node in ast.walk(ast.parse(path.read_text("utf-8"))) if (text := english(node)) is not None]


def test_every_translation_puts_in_what_the_english_does():
    for english_text, says in catalogue()["sentences"].items():
        slots = {slot[1] for slot in SLOT.finditer(english_text)}
        assert set(says) == {"ko", "th"}, english_text
        for text in says.values():
            assert {slot[1] for slot in SLOT.finditer(text)} == slots, text
        if len(re.findall(r"[A-Za-z]{2,}", SLOT.sub("", english_text))) > 1:  # not names and numbers alone
            assert re.search("[가-힣]", says["ko"]) and re.search("[ก-๛]", says["th"]), english_text


def test_every_error_of_ours_has_a_heading():
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert any(base.__name__ in catalogue()["headings"] for base in kind.__mro__[:-2]), name
    assert all(set(entry) == {"en", "ko", "th"} for entry in catalogue()["headings"].values())


# ---- sentences


def test_a_status_of_a_photo_is_said_in_korean_and_thai():
    empty = status_of(Look(None, ()), "원영", "embedded + embedded")
    assert in_language(empty.message, "ko") == "이 사진에서 얼굴을 찾지 못해 원영을 찾아볼 수 없습니다"
    assert in_language(empty.message, "th") == "ไม่พบใบหน้าในรูปนี้ จึงหา 원영 ไม่ได้"
    twins = "2 more face(s) look the same (a mirror?) and are left alone"
    text = f"Mina, similarity 0.83, +0.21 ahead of 유진; {twins} · a + b"
    assert in_language(text, "ko") == (
        "Mina, 유사도 0.83, 유진보다 +0.21 높음. "
        "똑같아 보이는 얼굴이 2개 더 있지만 (거울일까요?) 그대로 두었습니다 · a + b"
    )
    assert in_language(text, "en") == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("하나", "하나는 이 사진의"), ("유진", "유진은 이 사진의"), ("Mina", "Mina은(는) 이 사진의"),
        ("วอน", "วอน은(는) 이 사진의"),
        ("2", "2는 이 사진의"), ("3", "3은 이 사진의"), ("'리즈'", "'리즈'는 이 사진의"),
    ],
)  # fmt: skip
def test_particles_agree_with_the_name_before_them(name, text):
    assert in_language(f"{name} is not among the 3 faces of this picture", "ko").startswith(text)


@pytest.mark.parametrize(
    ("name", "text"), [("유진", "유진으로 이미"), ("가을", "가을로 이미"), ("레이", "레이로 이미")]
)
def test_after_a_final_l_the_particle_is_the_one_after_a_vowel(name, text):
    assert text in in_language(f"the same face is on file as {name}; not used", "ko")


def test_things_are_called_by_the_words_of_the_lexicon():
    assert in_language("하나's shirt; 하나, similarity 0.70", "ko") == "하나의 셔츠. 하나, 유사도 0.70"
    assert in_language("하나 was found, but no bag on them", "th") == "พบ 하나 แล้ว แต่ไม่พบกระเป๋าบนตัว"
    assert "crocodile" in in_language("하나 was found, but no crocodile on them", "ko")


def test_several_sentences_are_translated_if_all_are_known_and_stay_whole_if_not():
    facts = {"frames": 3, "frames_in_all": 4, "bare_frames": 1}
    assert in_language(in_words(facts, 2), "ko") == (
        "그림 4장 중 3장을 보았습니다. 2곳을 발견했습니다. 그림 1장에서 머리가 보이는 것 같습니다."
    )
    assert "ไม่พบจุดใด" in in_language(in_words(facts, 0), "th")
    half = "choose a member first; the moon is made of cheese"
    assert in_language(half, "ko") == half


def test_what_is_said_of_a_video_is_translated_whole():
    text = (
        "0:01 - 0:04 (the video was not looked at yet): 90 frames, 3.0 s. On screen: 원영 2.5 s; Mina 1.0 s. H.264: "
        "for every player, phone and web page; it has no transparency; sound kept. no head was found in it, so none is "
        "covered."
    )
    assert not re.search("[a-z]{2,} [a-z]{2,}", in_language(text, "ko")), in_language(text, "ko")
    assert not re.search("[a-z]{2,} [a-z]{2,}", in_language(text, "th")), in_language(text, "th")


def test_names_with_stops_and_seps_in_them_are_kept_whole():
    text = in_language("the one face in this picture is not Dr. Kim's; found: J. Park, Ana", "ko")
    assert text == "이 사진의 유일한 얼굴은 Dr. Kim의 얼굴이 아닙니다. 찾은 사람: J. Park, Ana"
    listed = in_language("nobody called 'a; b' is in the gallery; the gallery has: c", "ko")
    assert "'a; b'" in listed and "갤러리" in listed


def test_a_report_of_photos_is_translated_line_by_line():
    verdicts = (
        PhotoVerdict("Mina", "Mina/1.jpg", "outlier", "similarity 0.20 to this person's other photos; somebody else?"),
        PhotoVerdict("Mina", "Mina/2.jpg", "duplicate", "same picture as 1.jpg"),
    )
    lines = in_language("no photo of 'Mina' could be used.\n" + BuildReport(verdicts).table(), "ko").splitlines()
    assert lines[0] == "'Mina'의 사진 중 쓸 수 있는 것이 없습니다."
    assert lines[1] == "Mina/1.jpg: 다른 사람 같음 - 이 사람의 다른 사진과 유사도 0.20. 다른 사람일까요?"
    assert lines[2] == "Mina/2.jpg: 중복 - 1.jpg과(와) 같은 사진입니다"
    assert lines[-1] == "Mina: 사진 2장 중 0장을 썼습니다"


def test_words_of_tables_are_translated():
    assert in_language("several_faces", "ko") == "여러 얼굴 중 사용"
    assert all(in_language(view, language) != view for view in VIEWS for language in ("ko", "th"))


def test_every_line_about_this_machine_says_its_state_in_korean():
    lines = in_language(doctor.as_text(list(doctor.examine())), "ko").splitlines()
    assert all(re.match(r"\[(정상|없음|참고)\] |준비", line) for line in lines), lines


def test_markup_and_patterns_in_names_are_only_text():
    name = r"<b>\1(.*)</b>{n}"
    assert in_language(f"{name}, similarity 0.83", "ko") == f"{name}, 유사도 0.83"


# ---- errors, and whose language


def _request(header: str | None):
    return SimpleNamespace(headers={} if header is None else {"accept-language": header})


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"), ("th", "th"), ("fr-FR,fr;q=0.9,th;q=0.5,ko;q=0.7", "ko"), ("de", "en"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"), ("ko;q=0", "en"), ("", "en"), (None, "en"), (";;,q=x", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_first_of_ours_that_the_browser_accepts(header, language):
    assert language_of(_request(header)) == language


def test_an_error_that_is_not_known_has_a_heading_in_the_language():
    error = errors.ImageError("the moon is made of cheese")
    assert error_in_language(error, "ko") == "사진을 읽을 수 없습니다 - the moon is made of cheese"
    assert error_in_language(error, "en") == "the moon is made of cheese"
    assert error_in_language(errors.InputError("choose a member first"), "th") == "เลือกสมาชิกก่อน"
    assert error_in_language(errors.Cancelled(), "ko") == "취소했습니다. 끝난 부분은 남아 있습니다"
    locked = errors.GalleryLocked("another process is writing the gallery in /a b; try again when it is done")
    assert error_in_language(locked, "ko") == "다른 프로세스가 /a b의 갤러리를 쓰고 있습니다. 끝나면 다시 해 보세요"


@pytest.mark.parametrize(
    ("error", "text", "title"),
    [
        (errors.InputError("choose a member first"), "먼저 멤버를 고르세요", "입력한 것을 쓸 수 없습니다"),
        (errors.Cancelled(), "취소했습니다. 끝난 부분은 남아 있습니다", "취소했습니다"),
        (errors.UnknownPerson("nobody on file is called <b>; on file: A"),
         "&lt;b&gt;(이)라는 사람은 등록되어 있지 않습니다. 등록된 사람: A",
         "그런 이름으로 등록된 사람이 없습니다"),
        (KeyError("secret"), "여기서 문제가 생겼습니다. 자세한 내용은 서버 로그에 있습니다", "오류"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_a_callback_is_said_in_the_visitors_language(error, text, title):
    def fails(request: gr.Request):
        raise error

    request = gr.Request(headers={"accept-language": "ko-KR"})
    with pytest.raises(gr.Error) as caught:
        safely(fails)(request)
    assert (caught.value.message, caught.value.title) == (text, title)
    with pytest.raises(gr.Error) as caught:
        safely(fails)(request=None)
    assert not re.search("[가-힣]", caught.value.message), "English outside of an event"
    assert said("choose a member first") == told(errors.InputError("choose a member first")) == "choose a member first"


def test_the_catalogue_is_in_the_order_it_is_read_and_has_no_double_entry():
    pairs = json.loads((PACKAGE / "data" / "speech.json").read_text("utf-8"), object_pairs_hook=lambda entries: entries)
    names = [key for key, _ in dict(pairs)["sentences"]]
    assert len(names) == len(set(names))
