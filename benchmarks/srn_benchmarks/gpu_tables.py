"""The tables of what is measured on a GPU alone, and the bars that the numbers are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .cpu_tables import LSTM
from .results import TIMED, Case, Results, over_baseline
from .text import NOTHING, Table, inverse, number, percent, ratio, scaled, unless_missing

GPU_CELL, GPU_STEP, GPU_PACKED, GPU_SWEEP = "gpu_cell", "gpu_step", "gpu_packed", "gpu_sweep"

SHORT, LONG = "steps", "twice the steps"
SHORT_PRODUCTS, LONG_PRODUCTS = "products of the steps", "products of twice the steps"
"""What a step's case has times of: :data:`SHORT` in its ``seconds``, the others beside it."""

FORWARD, BACKWARD, TRAINING = "forward", "backward", "forward+backward"

HALF_MICROSECONDS = {FORWARD: 1.5, BACKWARD: 2.0}
"""Bars of a step's recurrence in bfloat16 at B 32, in µs."""


def time_over_lstm(case: Case, cases: Sequence[Case], unit: str) -> float | None:
    """A case's time over that of ``nn.LSTM`` on the same shape, the median over rounds."""
    names = ("pass", "batch", "steps", "hidden_size", "precision", "device")
    own = [other for other in cases if all(other.labels.get(name) == case.labels.get(name) for name in names)]
    return inverse(over_baseline(case, own, LSTM, unit))


def per_step(case: Case) -> tuple[float, float] | None:
    """Seconds of a step in all, and of its part in the products over all rows; medians over rounds."""
    if case.status != TIMED:
        return None
    steps = case.work["steps"]

    def slope(long: Sequence[float], short: Sequence[float]) -> float:
        return median(one - other for one, other in zip(long, short, strict=True)) / steps

    return (
        slope(case.beside[LONG], case.seconds),
        slope(case.beside[LONG_PRODUCTS], case.beside[SHORT_PRODUCTS]),
    )


def recurrence(case: Case) -> float | None:
    """Seconds of a step less those of its products: the recurrence alone."""
    parts = per_step(case)
    return None if parts is None else parts[0] - parts[1]


def gpu_cell_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation; the ratio is of time: below 1 it is faster than nn.LSTM."""
    rows = []
    for case in cases:
        measured = [
            scaled(case.median_seconds, 1e3),
            percent(case.spread),
            scaled(inverse(case.rate("steps")), 1e6),
            ratio(time_over_lstm(case, cases, "steps")),
        ]
        place = [str(case.labels[name]) for name in ("pass", "batch", "steps", "hidden_size")]
        rows.append([*place, str(case.labels["implementation"]), *unless_missing(case, measured)])
    headers = ["pass", "B", "T", "H", "implementation", "ms", "±", "µs/step", f"time over {LSTM}"]
    return Table(title, headers, rows, words=5)


def gpu_step_table(title: str, cases: Sequence[Case]) -> Table:
    rows = []
    for case in cases:
        whole, products = per_step(case) or (None, None)
        measured = [scaled(whole, 1e6), scaled(products, 1e6), scaled(recurrence(case), 1e6)]
        place = [str(case.labels[name]) for name in ("pass", "batch")]
        rows.append([*place, str(case.labels["implementation"]), *unless_missing(case, measured)])
    headers = ["pass", "B", "implementation", "µs/step", "products, µs/step", "recurrence, µs/step"]
    return Table(title, headers, rows, words=3)


def gpu_packed_table(title: str, cases: Sequence[Case]) -> Table:
    rows = []
    for case in cases:
        measured = [
            scaled(case.median_seconds, 1e3),
            percent(case.spread),
            scaled(inverse(case.rate("tokens")), 1e6),
            ratio(time_over_lstm(case, cases, "tokens")),
        ]
        rows.append([str(case.labels["implementation"]), *unless_missing(case, measured)])
    return Table(title, ["implementation", "ms", "±", "µs/token", f"time over {LSTM}"], rows, words=1)


# -- bars --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """A number that was to be reached: at most ``bound``, or at least; ``value`` None where nothing was measured."""

    what: str
    precision: str
    who: str
    bound: float
    at_most: bool
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def texts(self) -> list[str]:
        verdict = {None: "not measured", True: "yes", False: "no"}[self.reached]
        bound = f"{'at most' if self.at_most else 'at least'} {self.bound:g}"
        return [self.what, self.precision, self.who, bound, number(self.value), verdict]


def bars(results: Results, late: str, trunk: str, early: str) -> list[Bar]:
    """Every bar for each backend that was measured, whether its number is there or not.

    ``late``, ``trunk`` and ``early`` are the names of the fusion table's rows.
    """
    cases = {table: results.of(table) for table in (GPU_CELL, GPU_STEP, GPU_PACKED)}
    fusion = [case for case in results.of("fusion") if "backend" in case.labels]
    names = [str(case.labels["implementation"]) for own in cases.values() for case in own]
    names += [f"SRN {case.labels['backend']}" for case in fusion]
    backends = [name for name in dict.fromkeys(names) if name != LSTM and "(eager)" not in name]
    found = []
    for who in backends or [NOTHING]:

        def one(table: str, who: str = who, **labels: str) -> Case | None:
            wanted = {"implementation": who, **labels}
            return next((c for c in cases[table] if all(c.labels.get(k) == v for k, v in wanted.items())), None)

        def over_lstm(table: str, case: Case | None, unit: str) -> float | None:
            return None if case is None else time_over_lstm(case, cases[table], unit)

        for precision in ("bfloat16", "float16", "tf32"):
            for kind in (FORWARD, TRAINING):
                case = one(GPU_CELL, precision=precision, **{"pass": kind})
                value = over_lstm(GPU_CELL, case, "steps")
                found.append(Bar(f"{kind}: time over {LSTM}", precision, who, 1.0, True, value))
        for kind, bound in HALF_MICROSECONDS.items():
            case = one(GPU_STEP, precision="bfloat16", **{"pass": kind})
            value = None if case is None else recurrence(case)
            micro = None if value is None else value * 1e6
            found.append(Bar(f"{kind}: recurrence, µs a step", "bfloat16", who, bound, True, micro))
        value = over_lstm(GPU_PACKED, one(GPU_PACKED, precision="bfloat16"), "tokens")
        found.append(Bar(f"packed sentences: time over {LSTM}", "bfloat16", who, 0.5, True, value))

        own = [case for case in fusion if f"SRN {case.labels['backend']}" == who]
        rows = {str(case.labels["implementation"]): case for case in own}
        over_late = {
            name: over_baseline(rows[name], own, late, "sentences") if name in rows else None
            for name in (late, trunk, early)
        }
        rate = rows[late].rate("sentences") if late in rows else None
        found.append(Bar("late fusion over the trunk alone", "bfloat16", who, 0.9, False, inverse(over_late[trunk])))
        found.append(Bar("late fusion, sentences/s", "bfloat16", who, 30_000, False, rate))
        found.append(Bar("late fusion over early, batched", "bfloat16", who, 4.3, True, inverse(over_late[early])))
    return found


def bars_table(found: Sequence[Bar]) -> Table:
    headers = ["what", "precision", "implementation", "to reach", "measured", "reached"]
    return Table("in this run", headers, [bar.texts() for bar in found], words=4)
