"""The numbers to reach on a GPU, and the time that a step of the recurrence took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from . import names
from .names import BACKWARD, FORWARD, LATE, LSTM, TRAINING
from .results import TIMED, Case, Results, over_baseline
from .text import NOTHING, inverse, number


def per_step(case: Case) -> tuple[float, float] | None:
    """Seconds of a whole step, and of its products over all rows: slopes, as medians over rounds."""
    if case.status != TIMED:
        return None

    def slope(long: Sequence[float], short: Sequence[float]) -> float:
        return median(one - other for one, other in zip(long, short, strict=True)) / case.work["steps"]

    products = case.beside[names.LONG_PRODUCTS], case.beside[names.SHORT_PRODUCTS]
    return slope(case.beside[names.LONG], case.seconds), slope(*products)


def recurrence(case: Case) -> float | None:
    """Seconds of a step less those of its products: the recurrence alone."""
    parts = per_step(case)
    return None if parts is None else parts[0] - parts[1]


@dataclass(frozen=True)
class Bar:
    """A number to reach: at most ``bound``, or at least. ``value`` computes it from the case of ``table`` with these
    ``labels``, and from all cases of the table."""

    what: str
    precision: str
    bound: float
    table: str
    labels: dict[str, object]
    value: Callable[[Case, Sequence[Case]], float | None]
    at_most: bool = True
    general: float | None = None
    """The bound for ``triton`` instead: the general path, which goes step by step."""

    def texts(self, results: Results, who: str) -> list[str]:
        """A row: the bar, the implementation ``who``, what was measured, and the verdict."""
        fusion = {"backend": who.removeprefix("SRN ")} if self.table == names.FUSION else {"implementation": who}
        wanted, cases = (fusion | self.labels).items(), results.of(self.table)
        matching = [case for case in cases if all(case.labels.get(name) == value for name, value in wanted)]
        value = self.value(matching[0], cases) if matching else None
        bound = self.general if self.general is not None and who == "SRN triton" else self.bound
        verdict = "not measured"
        if value is not None:
            verdict = "yes" if (value <= bound if self.at_most else value >= bound) else "no"
        text = f"{'at most' if self.at_most else 'at least'} {bound:g}"
        return [self.what, self.precision, who, text, number(value), verdict]


def _time_over(baseline: str, unit: str) -> Callable[[Case, Sequence[Case]], float | None]:
    return lambda case, cases: inverse(over_baseline(case, cases, baseline, unit))


def _micro(case: Case, cases: Sequence[Case]) -> float | None:
    seconds = recurrence(case)
    return None if seconds is None else seconds * 1e6


def _cell(precision: str, kind: str, bound: float, hidden: int = names.PAPER_HIDDEN) -> Bar:
    labels = {"precision": precision, "pass": kind, "hidden_size": hidden}
    what = f"{kind}, H {hidden}: time over {LSTM}"
    return Bar(what, precision, bound, names.GPU_CELL, labels, _time_over(LSTM, "steps"), general=1.5)


def _step(kind: str, bound: float) -> Bar:
    labels = {"precision": "bfloat16", "pass": kind}
    return Bar(f"{kind}: recurrence, µs a step", "bfloat16", bound, names.GPU_STEP, labels, _micro)


def _fusion(what: str, bound: float, row: str, value: Callable[..., float | None], at_most: bool) -> Bar:
    return Bar(what, "bfloat16", bound, names.FUSION, {"implementation": row}, value, at_most)


HALF = {"precision": "bfloat16"}
OVER_LATE = _time_over(LATE, "sentences")

BARS = (
    *(
        _cell(precision, kind, bound)
        for precision in ("bfloat16", "float16", "tf32")
        for kind, bound in ((FORWARD, 0.5), (TRAINING, 0.6))
    ),
    *(_cell("float16", kind, 1.0, hidden=256) for kind in (FORWARD, TRAINING)),  # where cuDNN's is persistent too
    _step(FORWARD, 1.5),
    _step(BACKWARD, 2.0),
    Bar(f"packed sentences: time over {LSTM}", "bfloat16", 0.5, names.GPU_PACKED, HALF, _time_over(LSTM, "tokens")),
    _fusion("late fusion over the trunk alone", 0.9, names.TRUNK, OVER_LATE, at_most=False),
    _fusion("late fusion, sentences/s", 30_000, LATE, lambda case, cases: case.rate("sentences"), at_most=False),
    _fusion("late fusion over early, batched", 4.3, names.BATCHED, OVER_LATE, at_most=True),
    _fusion("late fusion over packed", 2.0, names.PACKED_FUSION, OVER_LATE, at_most=True),
)


def bars(results: Results) -> list[list[str]]:
    """A row for every bar and each backend that was measured, whether its number is there or not."""
    cases = [case for table in (names.GPU_CELL, names.GPU_STEP, names.GPU_PACKED) for case in results.of(table)]
    found = [case.name for case in cases if case.name != LSTM and "(eager)" not in case.name]
    fused = [case.labels for case in results.of(names.FUSION) if "SRN" in case.labels["precision"]]  # on a GPU
    found += [f"SRN {labels['backend']}" for labels in fused]
    return [bar.texts(results, who) for who in dict.fromkeys(found or [NOTHING]) for bar in BARS]
