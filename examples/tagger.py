"""Tags of three tasks over one bidirectional ``SRN``: each task's head reads the memories that its task can see.

    python examples/tagger.py         # the sample corpus: 20 sentences, and 7 held out
    python examples/tagger.py --lstm  # nn.LSTM with as many weights, whose one output all heads read
    python examples/tagger.py --files train.json dev.json --epochs 10  # a larger corpus, in DyGIE++'s form

A word has three tags: the type of the entity that it is part of, and whether that entity is the subject, or an object,
of a relation. Sentences of different lengths go through the network as a ``PackedSequence``. F1 counts the words that
have a tag. Seven sentences do not tell which of two networks is better. Corpora are read by the extra ``cascade``.
"""

from __future__ import annotations

import argparse
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from cascade.data import Sentence, read_corpus, sample_corpus
from srn_kernels import SRN

TASKS = ("entity", "subject", "object")
Tags = dict[str, Tensor]  # of each task, (S)


def tags_of(sentence: Sentence, task: str) -> list[str]:
    """Each word's tag, "" for none; a word of nested entities has that of the longest."""
    entities = sentence.entities if task == "entity" else [getattr(relation, task) for relation in sentence.relations]
    tags = [""] * len(sentence.words)
    for one in sorted(entities, key=lambda entity: entity.end - entity.start):
        tags[one.start : one.end + 1] = [one.label if task == "entity" else task] * (one.end + 1 - one.start)
    return tags


def features(word: str) -> list[str]:
    return [word.lower(), "-" + word[-3:].lower(), "Capital" if word[:1].isupper() else "No capital"]


class Tagger(nn.Module):
    def __init__(self, known: int, tags: dict[str, int], lstm: bool, width: int = 48, hidden: int = 48) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(known, width, mode="sum")
        self.rnn: nn.Module = SRN(width, hidden, bidirectional=True, tasks=TASKS)
        read = 2 ** (len(TASKS) - 1) * 2 * hidden  # four of the seven memories, in two directions
        if lstm:
            weights = sum(weight.numel() for weight in self.rnn.parameters())
            hidden = next(size for size in count(hidden) if 2 * 4 * size * (width + size + 2) >= weights)
            self.rnn, read = nn.LSTM(width, hidden, bidirectional=True), 2 * hidden
        self.heads = nn.ModuleDict({task: nn.Linear(read, tags[task]) for task in TASKS})

    def forward(self, words: PackedSequence) -> Tags:
        """Of packed features (S, 3) the scores of each task's tags (S, tags)."""
        ids = words.data
        if self.training:  # features are unknown at times, as many will be in new sentences
            ids = ids * (torch.rand(ids.shape) > 0.2)
        x = words._replace(data=F.dropout(self.embedding(ids), 0.3, self.training))  # (S, D)
        if isinstance(self.rnn, SRN):
            out = self.rnn(x, return_memories=True)
            seen = {task: out.task(task).data for task in TASKS}  # (S, 4·2·H) each
        else:
            seen = dict.fromkeys(TASKS, self.rnn(x)[0].data)  # (S, 2·H), the same for all
        return {task: head(seen[task]) for task, head in self.heads.items()}


def report(name: str, found: Tags, gold: Tags) -> None:
    """F1, in percent: of each task, and of all three together. Tag 0 is none."""
    right = [((found[task] == gold[task]) & (gold[task] > 0)).sum().item() for task in TASKS]
    tagged = [((found[task] > 0).sum() + (gold[task] > 0).sum()).item() for task in TASKS]
    scores = [200 * a / max(b, 1) for a, b in zip([*right, sum(right)], [*tagged, sum(tagged)], strict=True)]
    print(f"{name:24}", *(f"{score:8.1f}" for score in scores), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs=2, metavar=("TRAIN", "DEV"), help="in DyGIE++'s form")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lstm", action="store_true", help="nn.LSTM with as many weights")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # enough for a network this small, and steady where the cores are busy

    corpora = [read_corpus(file) for file in options.files] if options.files else map(sample_corpus, ("train", "dev"))
    train, dev = ([sentence for sentence in corpus.sentences() if sentence.words] for corpus in corpora)
    tags = {task: ["", *sorted({tag for s in (*train, *dev) for tag in tags_of(s, task)} - {""})] for task in TASKS}
    known = ["", *sorted({feature for s in train for word in s.words for feature in features(word)})]
    ids = {feature: place for place, feature in enumerate(known)}

    def encode(sentences: list[Sentence]) -> tuple[PackedSequence, Tags]:
        """Features (S, 3), packed, and the tags in the same order."""
        x = [torch.tensor([[ids.get(one, 0) for one in features(word)] for word in s.words]) for s in sentences]
        y = {}
        for task in TASKS:
            rows = [torch.tensor([tags[task].index(tag) for tag in tags_of(s, task)]) for s in sentences]
            y[task] = pack_sequence(rows, enforce_sorted=False).data
        return pack_sequence(x, enforce_sorted=False), y

    (x, y), (x_dev, gold) = encode(train), encode(dev)
    usual = {}  # what to compare with: each word has the tag that it has most often in training
    for task in TASKS:
        votes = torch.zeros(len(known), len(tags[task]))
        votes.index_put_((x.data[:, 0], y[task]), torch.tensor(1.0), accumulate=True)
        usual[task] = votes.argmax(1)[x_dev.data[:, 0]]

    model = Tagger(len(known), {task: len(tags[task]) for task in TASKS}, options.lstm)
    weights = sum(weight.numel() for weight in model.rnn.parameters())
    print(f"{model.rnn}: {weights} weights; {len(train)} sentences, {len(dev)} held out")
    print("F1 of those held out    ", *(f"{name:>8}" for name in (*TASKS, "all")))
    report("each word's usual tag", usual, gold)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(1, options.epochs + 1):
        model.train()
        losses = []
        for batch in torch.randperm(len(train)).split(8):
            words, wanted = encode([train[i] for i in batch])
            loss = sum(F.cross_entropy(scores, wanted[task]) for task, scores in model(words).items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 5 == 0 or epoch == options.epochs:
            model.eval()
            with torch.no_grad():
                found = {task: scores.argmax(1) for task, scores in model(x_dev).items()}
            report(f"epoch {epoch}, loss {sum(losses) / len(losses):.3f}", found, gold)


if __name__ == "__main__":
    main()
