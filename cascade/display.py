"""A corpus as one HTML page, complete in itself: entities as coloured bars over their words, relations as arcs.

Gold lies above the words and predictions, mirrored, below. A sentence is a CSS grid whose columns the browser fits to
words and labels: so nothing here measures text, of whatever script, and no label covers another; where text runs from
right to left, so do the columns. Every end of an arc has a grid line within a word to itself, its *port*.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import accumulate, islice, pairwise

from .data import Corpus, Entity, Relation, Sentence
from .data.alignment import aligned

GOLD, PREDICTED = "gold", "predicted"
RIGHT, MISSING, SPURIOUS = "right", "missing", "spurious"
SIGNS = {"": "", RIGHT: "", MISSING: "\N{MINUS SIGN} ", SPURIOUS: "+ "}
KINDS = {Entity: "entities", Relation: "relations"}

# Paul Tol's schemes, for readers with any colour vision: "light", made for cells with black text, and of "muted" what
# is dark enough for lines on white. Types take them in the order of the labels, and from the first again where there
# are more; no colour says what the text does not.
FILLS = ("#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#99DDFF", "#44BB99", "#BBCC33", "#AAAA00", "#DDDDDD")
LINES = ("#332288", "#AA4499", "#117733", "#CC6677", "#44AA99", "#882255", "#999933")
LINES_ON_BLACK = ("#77AADD", "#FFAABB", "#44BB99", "#EE8866", "#99DDFF", "#EEDD88", "#BBCC33")

Item = Entity | Relation
Counts = Counter[tuple[type[Item], str]]  # of things with a mark
Sides = Mapping[str, Sentence]  # one sentence as GOLD, as PREDICTED, or as both, in this order
Classes = Mapping[tuple[type[Item], str], str]  # of a type, in the style sheet
End = tuple[int, int]  # of a relation, by its index: 0 at its subject, 1 at its object
Pair = tuple[int, int]


def html_page(title: str, gold: Corpus | None = None, predicted: Corpus | None = None) -> Iterator[str]:
    """The page of gold, of predictions, or of both, line by line; each sentence is one. One of the two is needed.

    Of both, what NER and RE count as right (``docs/data.md``) is shown so, and the rest as missing or spurious.

    Raises DataError, before the first line, where the two do not hold the same sentences.
    """
    compared = _compared(gold, predicted)
    corpora = [corpus for corpus in (gold, predicted) if corpus is not None]
    classes = _classes(corpora)
    yield _head(title, compared, classes)
    rest = iter(compared)
    for document in corpora[0].documents:
        yield f"<section><h2>{escape(document.key)}</h2>"
        for number, sides in enumerate(islice(rest, len(document.sentences)), 1):
            yield _figure(number, sides, classes)
        yield "</section>"
    yield "</main></body></html>"


def _compared(gold: Corpus | None, predicted: Corpus | None) -> list[Sides]:
    if predicted is None:
        return [{GOLD: sentence} for sentence in gold.sentences()]
    if gold is None:
        return [{PREDICTED: sentence} for sentence in predicted.sentences()]
    return [{GOLD: ours, PREDICTED: theirs} for ours, theirs in aligned(gold, predicted)]


def _classes(corpora: Iterable[Corpus]) -> Classes:
    labels = [corpus.labels() for corpus in corpora]
    entity_types = sorted({label for each in labels for label in each.entity_types})
    relation_types = sorted({label for each in labels for label in each.relation_types})
    return {(Entity, label): f"e{index % len(FILLS)}" for index, label in enumerate(entity_types)} | {
        (Relation, label): f"r{index % len(LINES)}" for index, label in enumerate(relation_types)
    }


# What is right


def _marks(sides: Sides) -> dict[str, dict[Item, str]]:
    """What everything on each side is: right, missing or spurious, or nothing where there is one side alone."""
    items = {name: {*side.entities, *side.relations} for name, side in sides.items()}
    if len(sides) == 1:
        return {name: dict.fromkeys(found, "") for name, found in items.items()}
    predicted = sides[PREDICTED]
    right = items[GOLD] & {*predicted.entities, *predicted.complete_relations()}
    wrong = {GOLD: MISSING, PREDICTED: SPURIOUS}
    return {name: {item: RIGHT if item in right else wrong[name] for item in found} for name, found in items.items()}


def _counts(sides: Sides) -> Counts:
    """How many entities and relations there are of each mark; what is right counts once."""
    counts = Counter((type(item), mark) for marks in _marks(sides).values() for item, mark in marks.items())
    for kind in KINDS:
        counts[kind, RIGHT] //= 2
    return counts


def _counted(counts: Counts) -> str:
    """``entities: 3 right, 1 missing; relations: none``."""
    texts = []
    for kind, name in KINDS.items():
        numbers = [f"{counts[kind, mark]} {mark}".strip() for mark in SIGNS if counts[kind, mark]]
        texts.append(f"{name}: {', '.join(numbers) or 'none'}")
    return "; ".join(texts)


# Where it goes. A distance counts rows from the words, upwards or downwards.


@dataclass(frozen=True)
class _Side:
    """What lies on one side of a sentence's words."""

    bars: dict[Entity, int]  # the distance of each, from 1
    relations: tuple[Relation, ...]
    ports: dict[int, list[End]]  # of each word, from the first to the last


@dataclass(frozen=True)
class _Arc:
    """A relation between two ports, by their grid lines, at a distance beyond all bars."""

    relation: Relation
    ports: tuple[int, int]  # its subject's and its object's
    distance: int


def _side(sentence: Sentence) -> _Side:
    relations = tuple(dict.fromkeys(sentence.relations))
    entities = {*sentence.entities, *(end for relation in relations for end in (relation.subject, relation.object))}
    # Long ones next to the words: those inside them leave some words free, by which arcs reach the long ones.
    by_length = sorted(entities, key=lambda entity: (entity.start - entity.end, entity))
    bars = dict(zip(by_length, _stacked([entity.span for entity in by_length]), strict=True))
    return _Side(bars, relations, _ports(relations, bars))


def _stacked(intervals: Sequence[tuple[int, int]]) -> list[int]:
    """For each interval the first level, from 1, above all those before it that it meets."""
    levels: list[int] = []
    highest = [0] * (1 + max((end for _, end in intervals), default=0))  # so far, at each place
    for start, end in intervals:
        levels.append(1 + max(highest[start : end + 1]))
        highest[start : end + 1] = [levels[-1]] * (end + 1 - start)
    return levels


def _ports(relations: Sequence[Relation], bars: Mapping[Entity, int]) -> dict[int, list[End]]:
    """In an order in which arcs that end at the same word do not cross.

    Those to words before it come first, the nearest foremost; then those within it; then those to words after it, the
    farthest foremost. Several between the same two words enclose one another.
    """
    keys: dict[int, list[tuple[int, int, int, int, int]]] = defaultdict(list)
    anchors = _anchors(bars)
    for index, relation in enumerate(relations):
        words = anchors[relation.subject], anchors[relation.object]
        for end, word in enumerate(words):
            away = words[1 - end] - word
            side = (away > 0) - (away < 0)
            keys[word].append((side, -away, -side * index, index, end))
    return {word: [key[-2:] for key in sorted(found)] for word, found in keys.items()}


def _anchors(bars: Mapping[Entity, int]) -> dict[Entity, int]:
    """The word at which an entity's arcs end: the middle one of those with no other bar on the way, if any is."""
    farthest: Counter[int] = Counter()  # bar over each word
    for entity, distance in bars.items():
        for word in range(entity.start, entity.end + 1):
            farthest[word] = max(farthest[word], distance)
    anchors = {}
    for entity, distance in bars.items():
        words = range(entity.start, entity.end + 1)
        free = [word for word in words if farthest[word] <= distance] or words
        anchors[entity] = free[len(free) // 2]
    return anchors


def _columns(words: int, sides: Sequence[_Side]) -> list[int]:
    """The grid line at which each word starts, and that at which the last one ends. Column 1 holds the sides' names."""
    widths = (1 + max(len(side.ports.get(word, ())) for side in sides) for word in range(words))
    return list(accumulate(widths, initial=2))


def _arcs(side: _Side, columns: Sequence[int]) -> list[_Arc]:
    line_of: dict[End, int] = {}
    for word, ends in side.ports.items():
        first = (columns[word] + columns[word + 1] + 1 - len(ends)) // 2  # they are in the middle of the word
        line_of.update(zip(ends, range(first, first + len(ends)), strict=True))
    arcs = [(relation, (line_of[n, 0], line_of[n, 1])) for n, relation in enumerate(side.relations)]
    arcs.sort(key=lambda arc: abs(arc[1][0] - arc[1][1]))  # a longer one encloses a shorter one
    levels = _stacked([(min(ports), max(ports)) for _, ports in arcs])
    beyond = 1 + max(side.bars.values(), default=0)  # between bars and bows, a row for the heads of arrows
    return [_Arc(relation, ports, beyond + level) for (relation, ports), level in zip(arcs, levels, strict=True)]


# What is written


def _figure(number: int, sides: Sides, classes: Classes) -> str:
    """One sentence. Its words stand first in it, because the browser takes its direction from their first letter."""
    words = next(iter(sides.values())).words
    laid = [_side(sentence) for sentence in sides.values()]
    columns = _columns(len(words), laid)
    halves = [
        _Half(name, sides[name], marks, side.bars, _arcs(side, columns), columns, classes)
        for (name, marks), side in zip(_marks(sides).items(), laid, strict=True)
    ]
    row = 1 + halves[0].height
    cells = [
        _cell("word", _area(row, 0, (0, 0), lines), escape(word))
        for word, lines in zip(words, pairwise(columns), strict=True)
    ]
    for half, below in zip(halves, (False, True), strict=False):
        cells += half.cells(row, below)
    counts = _counts(sides)
    wrong = any(counts[kind, mark] for kind in KINDS for mark in (MISSING, SPURIOUS))
    return (
        f'<figure class="{"wrong" if wrong else "fine"}"><figcaption><b>{number}</b> {_counted(counts)}</figcaption>'
        f'<div class="box" dir="auto"><div class="grid">{"".join(cells)}</div></div></figure>'
    )


@dataclass(frozen=True)
class _Half:
    """One side of a sentence, to be drawn."""

    name: str
    sentence: Sentence
    marks: Mapping[Item, str]
    bars: Mapping[Entity, int]
    arcs: Sequence[_Arc]
    columns: Sequence[int]
    classes: Classes

    @property
    def height(self) -> int:
        """In rows: one at least, for the name."""
        return max([1, *self.bars.values(), *(arc.distance for arc in self.arcs)])

    def cells(self, row: int, below: bool) -> Iterator[str]:
        """``row``: that of the words, above or ``below`` which this side is."""
        place = partial(_area, row, 1 if below else -1)
        way = "below" if below else "above"
        yield _cell(f"name {way}", place((1, self.height), (1, 2)), self.name)
        for entity, distance in self.bars.items():
            area = place((distance, distance), (self.columns[entity.start], self.columns[entity.end + 1]))
            yield self._bar(entity, area)
        for arc in self.arcs:
            names = f"relation {way} {self._look(arc.relation)}"
            bow = place((arc.distance, arc.distance), arc.ports)
            parts = _cell("bow", bow, f"<span>{self._label(arc.relation)}</span>")
            parts += self._stem(arc, 0, place) + self._stem(arc, 1, place)
            yield f'<div class="{names}" title="{self._described(arc.relation)}">{parts}</div>'

    def _bar(self, entity: Entity, area: str) -> str:
        if entity not in self.marks:  # an end of a relation that was predicted without it
            return _cell("bar stray", area, "no entity", self._described(entity))
        return _cell(f"bar {self._look(entity)}", area, self._label(entity), self._described(entity))

    def _stem(self, arc: _Arc, end: int, place: Callable[[Pair, Pair], str]) -> str:
        """From the bow to the bar of the subject, or, with a head, of the object."""
        entity = (arc.relation.subject, arc.relation.object)[end]
        port, other = arc.ports[end], arc.ports[1 - end]
        side, neighbour = ("first", port + 1) if port < other else ("last", port - 1)  # it leans to the inside
        area = place((self.bars[entity] + 1, arc.distance - 1), (port, neighbour))
        return _cell(f"stem {side} {('subject', 'object')[end]}", area)

    def _look(self, item: Item) -> str:
        return f"{self.classes[type(item), item.label]} {self.marks[item]}".rstrip()

    def _label(self, item: Item) -> str:
        return escape(SIGNS[self.marks[item]] + item.label)

    def _described(self, item: Item) -> str:
        ends = (item,) if isinstance(item, Entity) else (item.subject, item.object)
        texts = (" ".join(self.sentence.words[end.start : end.end + 1]) for end in ends)
        score = "" if item.score is None else f" ({item.score:.2f})"
        return escape(f"{item.label}: {' → '.join(texts)}{score}")


def _area(words: int, direction: int, distances: Pair, lines: Pair) -> str:
    """A part of the grid: the distances count from the row of the words, -1 is up and 1 down."""
    first_row, last_row = sorted(words + direction * distance for distance in distances)
    first, last = sorted(lines)
    return f"{first_row}/{first}/{last_row + 1}/{last}"


def _cell(names: str, area: str, content: str = "", title: str = "") -> str:
    hint = f' title="{title}"' if title else ""
    return f'<div class="{names}" style="grid-area:{area}"{hint}>{content}</div>'


def _head(title: str, compared: Sequence[Sides], classes: Classes) -> str:
    """All that comes before the first document: the style sheet, the counts and the legend."""
    counts = sum(map(_counts, compared), Counter())
    types = "".join(
        f'<li class="{"bar" if kind is Entity else "line"} {name}">{escape(label)}</li>'
        for (kind, label), name in classes.items()
    )
    return f"""<!doctype html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{STYLE}{_rules("e", "fill", FILLS)}{_rules("r", "line", LINES)}
@media screen and (prefers-color-scheme: dark) {{ {_rules("r", "line", LINES_ON_BLACK)} }}</style>
<script>{FIT_TO_PAPER}</script></head>
<body><header><h1>{escape(title)}</h1><p>sentences: {len(compared)}; {_counted(counts)}</p>
<ul>{types}</ul>{_key_to_marks() if any(len(sides) == 2 for sides in compared) else ""}</header><main>"""


def _rules(prefix: str, name: str, colours: Sequence[str]) -> str:
    return "".join(f".{prefix}{index}{{--{name}:{colour}}}" for index, colour in enumerate(colours))


def _key_to_marks() -> str:
    marks = "".join(f'<li class="bar {mark}">{SIGNS[mark]}{mark}</li>' for mark in (RIGHT, MISSING, SPURIOUS))
    return (
        f"<ul><li>{GOLD} above the words, {PREDICTED} below</li>{marks}</ul>"
        '<label><input type="checkbox" id="wrong"> only sentences with something missing or spurious</label>'
    )


STYLE = """
:root { color-scheme: light; --page: #fff; --text: #1c2128; --faint: #667080; --rule: #e3e6ea; --fill: #c4c8ce; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --page: #15181d; --text: #e4e7eb; --faint: #98a2b0; --rule: #2c323a; }
}
body { margin: 0 auto; padding: 1.5rem 2rem; background: var(--page); color: var(--text);
  font: 15px/1.4 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0; font-size: 1.4rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1rem; }
header p, ul, label, figcaption, .name { font-size: 12px; }
header p, figcaption, .name { color: var(--faint); }
ul { display: flex; flex-wrap: wrap; gap: .4rem .6rem; margin: .6rem 0; padding: 0; list-style: none; }
.line { padding: 0 5px; border-bottom: 2px solid var(--line); }
body:has(#wrong:checked) .fine { display: none; }
figure { margin: 0; padding: .6rem 0; border-top: 1px solid var(--rule); break-inside: avoid; }
.box { overflow-x: auto; padding: 4px 0; }
.grid { display: grid; grid-auto-columns: minmax(10px, max-content); grid-auto-rows: minmax(20px, auto);
  width: max-content; }
.grid div, .grid span { unicode-bidi: plaintext; white-space: pre; }
.word { padding: 1px 5px; text-align: center; }
.name { position: sticky; inset-inline-start: 0; z-index: 1; padding-inline-end: 10px; background: var(--page);
  line-height: 20px; }
.name.above { align-self: end; }
.bar { margin: 1px 2px; padding: 0 5px; border: 1.5px solid var(--fill); border-radius: 4px; background: var(--fill);
  color: #000; font-size: 11px; line-height: 15px; text-align: center; }
.relation { display: contents; }
.bow { display: flex; justify-content: center; padding: 0 9px; border: 0 solid var(--line);
  border-inline-width: 1.5px; }
.bow span { position: sticky; inset-inline: 70px 8px; padding: 0 4px; background: var(--page); font-size: 11px;
  line-height: 14px; }
.above .bow { align-items: start; margin-top: 7px; border-top-width: 1.5px; border-start-start-radius: 7px;
  border-start-end-radius: 7px; }
.above .bow span { margin-top: -8px; }
.below .bow { align-items: end; margin-bottom: 7px; border-bottom-width: 1.5px; border-end-start-radius: 7px;
  border-end-end-radius: 7px; }
.below .bow span { margin-bottom: -8px; }
.stem { position: relative; border: 0 solid var(--line); }
.stem.first { border-inline-start-width: 1.5px; }
.stem.last { border-inline-end-width: 1.5px; }
.stem.object::after { content: ""; position: absolute; width: 9px; height: 7px; background: var(--line); }
.stem.first::after { inset-inline-start: -5.25px; }
.stem.last::after { inset-inline-end: -5.25px; }
.above .stem::after { bottom: 0; clip-path: polygon(0 0, 100% 0, 50% 100%); }
.below .stem::after { top: 0; clip-path: polygon(0 100%, 100% 100%, 50% 0); }
.bar.missing, .bar.spurious, .bar.stray { border: 1.5px dashed color-mix(in srgb, var(--fill) 60%, var(--text));
  background: color-mix(in srgb, var(--fill) 12%, var(--page)); color: var(--text); }
.missing .bow, .missing .stem, .spurious .bow, .spurious .stem { border-style: dashed; }
.relation:hover > div { filter: drop-shadow(0 0 1.5px var(--line)); }
@page { size: A4 landscape; margin: 10mm; }
@media print {
  body { padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  label { display: none; }
  .box { overflow: visible; zoom: var(--fit, 1); }
  .name, .bow span { position: static; }
}
"""
# Paper does not scroll: what is wider than A4 shrinks to it.
FIT_TO_PAPER = """
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll(".box"))
    box.style.setProperty("--fit", Math.min(1, 1040 / box.firstElementChild.offsetWidth));
});
"""
