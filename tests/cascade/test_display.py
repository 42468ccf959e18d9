"""The page read back: from where its bars and arcs lie follows which entities and relations they are."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from cascade.data import Corpus, DataError, Document, Entity, Relation, Sentence, sample_corpus
from cascade.display import html_page
from cascade.scoring import score

Element = ElementTree.Element
A, B, C, D = (Entity(i, i, label) for i, label in enumerate("ABCD"))
HOSTILE = """<script>alert("1")</script> &amp; 'x'"""


def corpus(*sentences: Sentence, key: str = "d") -> Corpus:
    return Corpus((Document(key, sentences),))


def sentence(words: int | str, *items: Entity | Relation) -> Sentence:
    """Entities and relations may be given in any order; the ends of relations are entities, too."""
    relations = tuple(item for item in items if isinstance(item, Relation))
    ends = [end for relation in relations for end in (relation.subject, relation.object)]
    entities = [item for item in items if isinstance(item, Entity)]
    text = tuple(f"w{i}" for i in range(words)) if isinstance(words, int) else tuple(words.split())
    return Sentence(text, tuple(sorted({*entities, *ends})), relations)


def figures(*corpora: Corpus | None) -> list[Element]:
    return [ElementTree.fromstring(line) for line in html_page("T", *corpora) if line.startswith("<figure")]


def having(figure: Element, name: str) -> list[Element]:
    return [element for element in figure.iter() if name in element.get("class", "").split()]


def area(cell: Element) -> tuple[int, int, int, int]:
    """The first and last row of a cell, and the grid lines of its columns, between which it lies."""
    row, first, end, last = map(int, cell.get("style").removeprefix("grid-area:").split("/"))
    return row, end - 1, first, last


def text(cell: Element) -> str:
    return "".join(cell.itertext()).removeprefix("+ ").removeprefix("\N{MINUS SIGN} ")


def read_back(figure: Element, side: str) -> Sentence:
    """What lies ``above`` or ``below`` the words of a sentence. Fails where an arc does not hang together."""
    words = having(figure, "word")
    [row] = {area(word)[0] for word in words}
    bars = {}
    for bar in having(figure, "bar"):
        bar_row, _, first, last = area(bar)
        if (bar_row < row) == (side == "above"):
            covered = [i for i, word in enumerate(words) if first <= area(word)[2] and area(word)[3] <= last]
            assert (first, last) == (area(words[covered[0]])[2], area(words[covered[-1]])[3])
            bars[bar_row, first, last] = Entity(covered[0], covered[-1], text(bar))
    relations = [relation_of(element, side, words, bars) for element in having(figure, side) if len(element)]
    return Sentence(tuple(text(word) for word in words), tuple(sorted(bars.values())), tuple(relations))


def relation_of(
    element: Element, side: str, words: list[Element], bars: dict[tuple[int, int, int], Entity]
) -> Relation:
    [bow], [subject], [object_] = (having(element, name) for name in ("bow", "subject", "object"))
    bow_row, last_row, *bow_lines = area(bow)
    assert bow_row == last_row
    ends = [end_of(stem, side, bow_row, words, bars) for stem in (subject, object_)]
    assert sorted(line for line, _ in ends) == bow_lines
    assert [line for line, _ in ends].index(bow_lines[0]) == (0 if "first" in subject.get("class") else 1)
    return Relation(ends[0][1], ends[1][1], text(bow))


def end_of(
    stem: Element, side: str, bow_row: int, words: list[Element], bars: dict[tuple[int, int, int], Entity]
) -> tuple[int, Entity]:
    """The line of a stem, and the entity whose bar it comes down to."""
    top, bottom, first, last = area(stem)
    line = first if "first" in stem.get("class").split() else last
    near, far = (bottom + 1, top - 1) if side == "above" else (top - 1, bottom + 1)
    assert far == bow_row
    [entity] = [bar for (row, start, end), bar in bars.items() if row == near and start < line < end]
    [word] = [i for i, cell in enumerate(words) if area(cell)[2] < line < area(cell)[3]]
    assert entity.start <= word <= entity.end
    return line, entity


def same(drawn: Sentence, given: Sentence) -> bool:
    return (drawn.words, set(drawn.entities), Counter(drawn.relations)) == (
        given.words,
        set(given.entities),
        Counter(set(given.relations)),
    )


def random_sentence(seed: int) -> Sentence:
    draw = random.Random(seed)
    spans = [sorted(draw.choices(range(8), k=2)) for _ in range(6)]
    entities = [Entity(start, end, draw.choice("XYZ")) for start, end in spans]
    relations = [Relation(*draw.choices(entities, k=2), draw.choice("RST")) for _ in range(9)]
    return sentence(8, *entities, *relations)


SENTENCES = {
    "apart": sentence(6, Relation(Entity(0, 1, "X"), Entity(3, 5, "Y"), "R")),
    "backwards": sentence(6, Relation(Entity(3, 5, "Y"), Entity(0, 1, "X"), "R")),
    "nested": sentence(5, Relation(Entity(0, 4, "X"), Entity(3, 4, "X"), "R"), Relation(Entity(3, 4, "X"), A, "R")),
    "crossing": sentence(5, Relation(Entity(0, 2, "X"), Entity(2, 4, "Y"), "R"), Entity(1, 3, "Z")),
    "the same words": sentence(2, Relation(Entity(0, 1, "X"), Entity(0, 1, "Y"), "R"), Entity(0, 1, "Z")),
    "several between two": sentence(4, *(Relation(A, D, label) for label in "RST"), Relation(D, A, "R")),
    "with itself": sentence(3, Relation(B, B, "R"), Relation(B, B, "S"), Relation(A, B, "R"), Relation(B, C, "R")),
    "one word": sentence(1, Relation(A, A, "R")),
    "twice": replace(sentence(2, Relation(A, B, "R")), relations=(Relation(A, B, "R"),) * 2),
    "no entities": sentence(4),
    "long": sentence(300, Relation(A, Entity(298, 299, "B"), "R"), Relation(Entity(150, 160, "A"), A, "R")),
    "right to left": sentence("זה משפט C++ בעברית 😀", Relation(Entity(0, 1, "סוג"), Entity(3, 4, "X"), "יחס")),
    "any characters": sentence("👩‍👩‍👧‍👦 北京 नमस्ते e\u0301 \u202eabc \u200b", Relation(A, Entity(3, 5, "\u202e"), "→")),
    "markup": sentence(HOSTILE, Relation(Entity(0, 0, HOSTILE), Entity(1, 2, "</div>"), HOSTILE)),
} | {f"random {seed}": random_sentence(seed) for seed in range(30)}


@pytest.mark.parametrize("given", SENTENCES.values(), ids=SENTENCES)
def test_arcs_join_the_words_of_their_entities(given: Sentence) -> None:
    [alone], [both] = figures(corpus(given)), figures(corpus(given), corpus(given))
    assert same(read_back(alone, "above"), given)
    assert same(read_back(both, "above"), given)
    assert same(read_back(both, "below"), given)


def test_each_side_shows_its_own() -> None:
    other = sentence(8, Relation(D, A, "S"), Entity(0, 7, "X"))
    for seed in range(20):
        [figure] = figures(corpus(random_sentence(seed)), corpus(other))
        assert same(read_back(figure, "above"), random_sentence(seed))
        assert same(read_back(figure, "below"), other)


@pytest.mark.parametrize("given", SENTENCES.values(), ids=SENTENCES)
def test_nothing_lies_on_anything_else(given: Sentence) -> None:
    [figure] = figures(corpus(given), corpus(given))
    cells = [area(cell) for name in ("word", "bar", "bow", "name") for cell in having(figure, name)]
    assert all(min(first) > 0 for first in cells)
    for one, other in combinations(cells, 2):
        assert one[1] < other[0] or other[1] < one[0] or one[3] <= other[2] or other[3] <= one[2]
    for side in ("above", "below"):
        ends = [line for element in having(figure, side) for bow in having(element, "bow") for line in area(bow)[2:]]
        assert len(set(ends)) == len(ends)


def test_arcs_from_one_word_do_not_cross() -> None:
    middle = Entity(4, 4, "X")
    others = [Entity(i, i, "Y") for i in range(9) if i != 4]
    relations = [
        Relation(*draw, label) for other in others for label in "RS" for draw in ((middle, other), (other, middle))
    ]
    [figure] = figures(corpus(sentence(9, *relations, Relation(middle, middle, "R"))))
    for stem in having(figure, "stem"):
        top, bottom, first, last = area(stem)
        line = first if "first" in stem.get("class") else last
        for bow in having(figure, "bow"):
            row, _, start, end = area(bow)
            assert not (top <= row <= bottom and start < line < end)


def test_arcs_pass_beside_the_bars_of_inner_entities() -> None:
    outer, others = Entity(1, 4, "X"), (Entity(1, 2, "Y"), Entity(4, 4, "Y"), Entity(3, 3, "Z"))
    for inner in combinations(others, 2):
        relations = (Relation(outer, end, "R") for end in (A, *inner))
        [figure] = figures(corpus(sentence(5, *relations)))
        for stem in having(figure, "stem"):
            top, bottom, first, last = area(stem)
            line = first if "first" in stem.get("class") else last
            for bar in having(figure, "bar"):
                row, _, start, end = area(bar)
                assert not (top <= row <= bottom and start < line < end)


def test_marks_are_those_of_the_strict_measure() -> None:
    gold = sample_corpus("train")
    predicted = corpus(*(perturbed(each, seed) for seed, each in enumerate(gold.sentences())))
    counts = Counter()
    for figure in figures(gold, predicted):
        for side in ("bar", "relation"):
            counts.update((side, mark) for element in having(figure, side) for mark in element.get("class").split())
    scores = score(gold, predicted)
    for side, found in (("bar", scores.ner), ("relation", scores.re)):
        assert counts[side, "right"] == 2 * found.correct > 0
        assert counts[side, "missing"] == found.gold - found.correct > 0
        assert counts[side, "spurious"] == found.predicted - found.correct > 0
    header = next(html_page("T", gold, predicted))
    for found in (scores.ner, scores.re):
        assert f": {found.correct} right, {found.gold - found.correct} missing, " in header


def perturbed(given: Sentence, seed: int) -> Sentence:
    """Some entities gone, though their relations are not; some of another type; some relations turned round."""
    draw = random.Random(seed)
    changed = [draw.choice((e, e, e, None, replace(e, label="Other"))) for e in given.entities]
    turned = [draw.choice((r, r, replace(r, subject=r.object, object=r.subject))) for r in given.relations]
    return replace(given, entities=tuple(filter(None, changed)), relations=tuple(turned))


def test_an_end_that_is_no_entity_is_shown_as_none() -> None:
    relation = Relation(A, B, "R")
    gold, predicted = sentence(2, relation), Sentence(("w0", "w1"), (A,), (relation,))
    [figure] = figures(corpus(gold), corpus(predicted))
    assert [text(bar) for bar in having(figure, "stray")] == ["no entity"]
    assert same(read_back(figure, "below"), sentence(2, Relation(A, Entity(1, 1, "no entity"), "R")))
    assert [element.get("class") for element in having(figure, "relation")] == [
        "relation above r0 missing",
        "relation below r0 spurious",
    ]


def test_scores_are_in_the_hints() -> None:
    relation = Relation(replace(A, score=0.75), B, "R", score=0.5)
    [figure] = figures(None, corpus(Sentence(("v", "w"), (relation.subject, B), (relation,))))
    assert [element.get("title") for element in figure.iter() if element.get("title")] == [
        "A: v (0.75)",
        "B: w",
        "R: v → w (0.50)",
    ]


def test_a_page_of_predictions_alone() -> None:
    page = list(html_page("T", predicted=corpus(SENTENCES["nested"], key="k")))
    [figure] = [ElementTree.fromstring(line) for line in page if line.startswith("<figure")]
    assert same(read_back(figure, "above"), SENTENCES["nested"])
    assert [name.text for name in having(figure, "name")] == ["predicted"]
    assert "k</h2>" in page[1]
    assert not any(mark in line for mark in ("right</", "missing</", "spurious</") for line in page)


def test_a_sentence_without_words() -> None:
    [figure] = figures(corpus(Sentence(())), corpus(Sentence(())))
    assert not having(figure, "word")
    assert figure.get("class") == "fine"


def test_types_have_colours_in_the_order_of_the_labels() -> None:
    gold, predicted = sentence(3, Relation(C, B, "S")), sentence(3, Relation(C, A, "R"))
    [figure] = figures(corpus(gold), corpus(predicted))
    classes = {(text(bar), bar.get("class").split()[1]) for bar in having(figure, "bar")}
    assert classes == {("A", "e0"), ("B", "e1"), ("C", "e2")}
    assert {(text(bow), bow.get("class").split()[2]) for bow in having(figure, "relation")} == {
        ("R", "r0"),
        ("S", "r1"),
    }


def test_more_types_than_colours_begin_again() -> None:
    [figure] = figures(corpus(sentence(40, *(Entity(i, i, f"T{i:02}") for i in range(40)))))
    classes = {bar.get("class").split()[1] for bar in having(figure, "bar")}
    page = "".join(html_page("T", corpus(SENTENCES["apart"])))
    assert len(classes) < 40
    assert all(f".{name}{{--fill:" in page for name in classes)


def test_the_browser_finds_the_direction_in_the_words() -> None:
    [figure] = figures(corpus(SENTENCES["right to left"]))
    [box] = having(figure, "box")
    assert box.get("dir") == "auto"
    assert "".join(box.itertext()).startswith(SENTENCES["right to left"].words[0])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_no_text_is_markup_and_nothing_is_fetched() -> None:
    hostile = corpus(SENTENCES["markup"], key=HOSTILE)
    page = "\n".join(html_page(HOSTILE, hostile, hostile))
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    assert [tag for tag, _ in tags.found].count("script") == 1
    names = {name for _, attributes in tags.found for name in attributes}
    assert names <= {"charset", "name", "content", "class", "style", "title", "dir", "type", "id"}
    assert not any(word in page for word in ("http", "url(", "@import"))


def test_documents_and_sentences_are_in_order() -> None:
    gold = sample_corpus("dev")
    lines = list(html_page("T", gold))
    drawn = [read_back(ElementTree.fromstring(line), "above") for line in lines if line.startswith("<figure")]
    assert all(same(one, other) for one, other in zip(drawn, gold.sentences(), strict=True))
    assert sum(line.startswith("<section>") for line in lines) == len(gold.documents)


def test_other_sentences_are_refused_before_the_first_line() -> None:
    with pytest.raises(DataError, match="expected the words"):
        next(html_page("T", corpus(sentence("a b"), sentence("c")), corpus(sentence("a b"), sentence("d"))))


def test_a_model_that_finds_everything_does_not_take_forever() -> None:
    """Untrained ones find every span: 1275 of 50 words."""
    words = tuple(f"w{n}" for n in range(50))
    entities = tuple(Entity(start, end, "X") for start in range(50) for end in range(start, 50))
    relations = tuple(Relation(one, other, "R") for one, other in pairwise(entities))
    page = "".join(html_page("all", predicted=Corpus((Document("d", (Sentence(words, entities, relations),)),))))
    assert page.count('class="bar e0"') == len(entities) + 1  # and in the legend
