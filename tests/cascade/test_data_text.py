"""Raw text to words: offsets that are right for any text, and the rule on the cases it names."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.data import DataError, document_from_text, document_from_words, normalize_word, split_text

TRICKY = st.lists(
    st.sampled_from([*"aZ9 \n.!?'’\"()[]-,:&@é日。ा😀\u00a0\u2028\u200b", "\u0301", "e.g.", "'s", "..", "Fig."])
)
TEXT = st.text() | TRICKY.map("".join)


def words(text: str) -> list[str]:
    return [word for sentence in split_text(text) for word in sentence.words]


def sentences(text: str) -> list[str]:
    return [" ".join(sentence.words) for sentence in split_text(text)]


@settings(deadline=None)
@given(TEXT)
def test_offsets_give_the_words_and_miss_nothing_but_space(text: str) -> None:
    covered = 0
    for sentence in split_text(text):
        assert sentence.words
        assert len(sentence.offsets) == len(sentence.words)
        for word, (start, end) in zip(sentence.words, sentence.offsets, strict=True):
            assert text[start:end] == word
            assert word and not any(character.isspace() for character in word)
            assert not text[covered:start].strip()
            covered = end
    assert not text[covered:].strip()


@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\u2028\n\n", "\x1c\x1d\x1e\x1f"])
def test_text_without_words_has_no_sentences(text: str) -> None:
    assert split_text(text) == ()
    assert document_from_text(text).sentences == ()


@pytest.mark.parametrize("piece", ["word ", "a.", "'", "a'", ".", "1,", "a-", "\n", "A. B ", "日", "x \n", "“a. B "])
def test_very_long_text(piece: str) -> None:
    text = piece * 50_000
    found = split_text(text)
    assert sum(len(word) for sentence in found for word in sentence.words) == len("".join(text.split()))


@pytest.mark.parametrize("read_at_once", [1, 7, 50, 1000])
def test_reading_in_pieces_moves_no_end(read_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Ada met Sen. Bel.  She left at 5 p.m. by train. Was it late? No.\n\nIt was not. " * 3
    whole = split_text(text)
    assert len(whole) == 15
    monkeypatch.setattr("cascade.data.text._READ_AT_ONCE", read_at_once)
    pieces = split_text(text)
    assert [word for sentence in pieces for word in sentence.words] == [w for s in whole for w in s.words]
    if read_at_once > 40:  # the longest sentence
        assert pieces == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state-of-the-art and/or AT&T v2.1", "state-of-the-art and/or AT&T v2.1"),
        ("1,000.5 at 12:30, or 5% of $3", "1,000.5 at 12:30 , or 5 % of $ 3"),
        ("(see Fig. 3, e.g. the U.S. one)", "( see Fig. 3 , e.g. the U.S. one )"),
        ("Ada's, they've, isn't, 'quoted'", "Ada 's , they 've , isn't , ' quoted '"),
        ("Ada’s “own” rule…", "Ada ’s “ own ” rule …"),
        ("Dr. A. Lind et al. wrote", "Dr. A. Lind et al. wrote"),
        ("wait... what -- no", "wait ... what -- no"),
        ("f(x)=[y]", "f ( x ) = [ y ]"),
        ("日本語 e\u0301te\u0301 हिंदी", "日 本 語 e\u0301te\u0301 हिंदी"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split(" ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One here. Two there! Three? Four", ["One here .", "Two there !", "Three ?", "Four"]),
        ('He said "No." She left.', ['He said " No . "', "She left ."]),
        ("It is (so.) Yes.", ["It is ( so . ) Yes ."]),
        ("about 5 cm. long, see Fig. 3 and J. Smith", ["about 5 cm . long , see Fig. 3 and J. Smith"]),
        ('Stop. " He went', ['Stop . "', "He went"]),
        ("vitamin c. The rest", ["vitamin c . The rest"]),
        ("A title\n\nA text over\ntwo lines", ["A title", "A text over two lines"]),
        ("日本。日本", ["日 本 。", "日 本"]),
        ("end.Next", ["end.Next"]),
        ("Sen. Orla met Gov. Pell on Dec. 3.", ["Sen . Orla met Gov . Pell on Dec . 3 ."]),
        (
            "Rev. Ams and Gen. Bo climbed Mt. Orv. Dr. Bo fell.",
            ["Rev . Ams and Gen . Bo climbed Mt . Orv .", "Dr. Bo fell ."],
        ),
        ("No. She left. See No. 5 there.", ["No .", "She left .", "See No . 5 there ."]),
        ("Eq. 3 and Refs. 4 hold. They do", ["Eq. 3 and Refs. 4 hold .", "They do"]),
        (
            "Ada (see a.b/c?D=1) sings: (a) one, (b) two. Bel hums",
            ["Ada ( see a.b/c ? D = 1 ) sings : ( a ) one , ( b ) two .", "Bel hums"],
        ),
        ("He was there. :)", ["He was there . : )"]),
        ("Who?Me“No!”She left", ["Who ? Me “ No ! ”", "She left"]),
        ("यह है। वह था।", ["यह है ।", "वह था ।"]),
        ("هل هذا؟ نعم.", ["هل هذا ؟", "نعم ."]),
        ("Սա է։ Նա եկավ։", ["Սա է ։", "Նա եկավ ։"]),
        ("We met J.\u0085Bo.\u2028He left", ["We met J . Bo .", "He left"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_language_has_abbreviations_and_stops_of_its_own() -> None:
    german = "Das sind ca. Drei bzw. Vier. Ja."
    assert len(split_text(german, "de")) == 2 < len(split_text(german, "en"))
    assert document_from_text(german, language="de").sentences == split_text(german, "de")


@pytest.mark.parametrize("language", ["", "English", "en_US", "e"])
def test_a_language_is_a_code(language: str) -> None:
    with pytest.raises(DataError, match=f"language: expected a code such as 'en' or 'zh-hant', found '{language}'"):
        split_text("Yes.", language)


def test_a_code_may_be_in_capitals() -> None:
    text = "Das sind bzw. Vier. Ende."
    assert split_text(text, "DE") == split_text(text, "de")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(DataError, match="character 3: expected text, found half a surrogate pair"):
        split_text("abc\ud83d")


def test_text_that_is_split_already() -> None:
    document = document_from_words([["-LRB-", "a b"], []], "k")
    assert [sentence.words for sentence in document.sentences] == [("-LRB-", "a b"), ()]
    assert document.record == {"doc_key": "k", "sentences": [["-LRB-", "a b"], []]}
    with pytest.raises(DataError, match="sentence 0: expected a sequence of words, found the string 'a b'"):
        document_from_words(["a b"])
    with pytest.raises(DataError, match="sentence 1, word 0: expected a string, not empty, found ''"):
        document_from_words([["a"], [""]])


@pytest.mark.parametrize(
    ("word", "bracket"),
    [
        ("-LRB-", "("),
        ("-RRB-", ")"),
        ("-LSB-", "["),
        ("-RSB-", "]"),
        ("-LCB-", "{"),
        ("-RCB-", "}"),
        ("-lrb-", "("),
        ("-Rrb-", ")"),
        ("LRB", "LRB"),
        ("-LRB", "-LRB"),
        ("(", "("),
    ],
)
def test_bracket_tokens(word: str, bracket: str) -> None:
    assert normalize_word(word) == bracket


def test_offsets_index_a_text_of_a_million_characters() -> None:
    """Right to left, combining, beyond 16 bits, joined by zero-width characters, and controls."""
    parts = [
        "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd. ",
        "e\u0301\U0001f469\u200d\U0001f680 flies.\x00\x07 ",
        "\u202eabc\u202c\ufeff\x1b[1m ",
        "\u4e2d\u6587\u3002",
    ]
    text = "".join(random.Random(0).choices(parts, k=110_000))
    assert len(text) > 1_000_000
    end = 0
    for sentence in split_text(text):
        for word, (start, stop) in zip(sentence.words, sentence.offsets, strict=True):
            assert text[start:stop] == word and end <= start < stop
            assert not text[end:start].strip()
            end = stop
    assert not text[end:].strip()
