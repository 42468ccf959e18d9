"""The persistent backend without a GPU: its Python and binding, over the kernels' body on the host.

All but the device's part runs here as on a GPU: the plan, the kernels' arguments, lengths, both directions in one
launch, the products around it. The GPU tests of the kernels are in ``tests/gpu``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from srn_kernels import backends, layout, native, reference
from srn_kernels.backends import cuda
from srn_kernels.reference import Direction
from srn_kernels.testing import TF32, assert_within, movements, unit_roundoff

from .accuracy import assert_accurate, assert_gradients_accurate, backend_results, draw_seeds, longest_sum
from .builds import ROOT, build, load, serve_on_host
from .cases import Case, draw

CASES = [
    Case(),
    Case(steps=1, batch=1),
    Case(steps=7, batch=9, hidden_size=33),
    Case(steps=5, batch=21, hidden_size=20, ragged=True),
    Case(steps=5, batch=12, hidden_size=17, directions=2),
    Case(steps=6, batch=19, hidden_size=24, directions=2, ragged=True),
    Case(steps=6, batch=5, hidden_size=16, tasks=2, directions=2, ragged=True, bias=False),
    Case(steps=3, batch=4, hidden_size=130, input_size=40),
    Case(steps=4, batch=3, hidden_size=9, directions=2, cell_clip=0.25),
]


EXCHANGED = [
    (case, exchange) for case in CASES for exchange in cuda.EXCHANGES if exchange == "mailbox" or case.tasks == 3
]
"""With how numbers are exchanged: within clusters there are three tasks."""

each_exchange = pytest.mark.parametrize("exchange", cuda.EXCHANGES)


@pytest.fixture(scope="module")
def host_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binding over the body on the host, compiled for these tests."""
    (path,) = build(tmp_path_factory.mktemp("persistent"), "srn_persistent_host")
    return path


@pytest.fixture(scope="module")
def host_kernels(host_library: Path) -> ModuleType:
    return load(host_library)


@pytest.fixture
def exchange() -> str:
    """The exchange of a test that does not name one."""
    return "mailbox"


@pytest.fixture
def on_host(host_kernels: ModuleType, exchange: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the backend ``cuda`` serve CPU tensors with those kernels."""
    serve_on_host(monkeypatch, host_kernels)
    monkeypatch.setenv(cuda.EXCHANGE, exchange)
    yield
    cuda._kept_plan.cache_clear()


def test_the_binding_can_be_loaded_twice(host_kernels: ModuleType, host_library: Path, tmp_path: Path) -> None:
    """As when the library has the CUDA kernels too: each module has separate types."""
    again = load(Path(shutil.copy(host_library, tmp_path)))
    assert again.Sizes is not host_kernels.Sizes
    sizes = {"dtype": "bfloat16", "tasks": 3, "directions": 1, "steps": 2, "batch": 3, "hidden": 8}
    for module in (again, host_kernels):
        plan, reason = module.plan("forward", module.Sizes(**sizes), "mailbox", 0)
        assert isinstance(plan, module.Plan) and reason is None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("case", "exchange"), EXCHANGED, ids=str)
def test_results(case: Case, dtype: torch.dtype, on_host: None) -> None:
    """Values, final states, memories and every gradient, each within a few times the effect of roundings."""
    call = draw(case, dtype)
    seeds = draw_seeds(call)
    with backends.record() as ran:
        got = backend_results(call, seeds, "cuda")
    assert ran == ["cuda", "cuda"]
    assert_accurate(got, call, seeds)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "exchange"), EXCHANGED, ids=str)
def test_float32_is_multiplied_as_tf32(case: Case, on_host: None) -> None:
    """Errors are those of a mantissa of 10 bits, no more and no fewer."""
    call = draw(case, torch.float32)
    seeds = draw_seeds(call)
    got = backend_results(call, seeds, "cuda")
    assert_accurate(got, call, seeds, TF32)
    with pytest.raises(AssertionError, match="off in norm"):  # or it was not TF32
        assert_accurate(got, call, seeds)


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case(steps=0), Case(steps=0, batch=0, directions=2)], ids=str)
def test_nothing_to_do(case: Case, on_host: None) -> None:
    """Zero steps return the state and its gradients unchanged; weights and input get zeros."""
    call = draw(case, torch.bfloat16).leaves()
    output, h_n, c_n, memories = call.run("cuda")
    assert output.numel() == memories.numel() == 0
    assert torch.equal(h_n, call.h0) and torch.equal(c_n, call.c0)
    seeds = [torch.randn_like(h_n), torch.randn_like(c_n)]
    grads = torch.autograd.grad([h_n, c_n], call.tensors(), seeds)
    expected = [torch.zeros_like(call.input), *seeds, *(torch.zeros_like(weight) for weight in call.weights)]
    assert all(torch.equal(one, other) for one, other in zip(grads, expected, strict=True))


@pytest.mark.slow
@each_exchange
def test_memories_and_gradients_do_not_change_the_values(on_host: None) -> None:
    call = draw(Case(steps=7, batch=5, hidden_size=19, directions=2, ragged=True), torch.bfloat16)
    full, bare = call.leaves().run("cuda"), call.run("cuda", memories=False)
    assert bare[3] is None
    assert all(torch.equal(one.detach(), other) for one, other in zip(full[:3], bare[:3], strict=True))


@pytest.mark.slow
@each_exchange
def test_a_direction_by_itself(on_host: None) -> None:
    """A call of the reverse direction alone, which no layer makes, agrees with the reference too."""
    case = Case(steps=5, batch=9, hidden_size=12, ragged=True)
    call = draw(case, torch.bfloat16)
    layer = call.layer_call()
    alone = layer.directions[0]._replace(reverse=True)
    out = Direction(*(torch.full_like(value, torch.nan) for value in reference.direction(alone)))
    backends.BACKENDS["cuda"].forward(layer._replace(directions=[alone]), [out])

    def exact(input: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor) -> Direction:
        (split,) = layout.split_weights(weights, 1)
        return reference.direction(alone._replace(input=input, h0=h0, c0=c0, weights=split))

    unit = unit_roundoff(torch.bfloat16)
    arguments = [alone.input, alone.h0, alone.c0, *call.weights]
    assert_within(out._asdict(), *movements(exact, arguments, unit, Direction._fields), unit, longest_sum(call))


@pytest.mark.slow
@each_exchange
def test_one_gradient_at_a_time(on_host: None) -> None:
    """The backward pass where only some results have a gradient."""
    call = draw(Case(steps=5, batch=9, hidden_size=12, directions=2, ragged=True), torch.bfloat16)
    for index in range(4):
        assert_gradients_accurate(call, (index,), "cuda")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "dtype", "reason"),
    [
        (Case(proj_size=2), torch.bfloat16, "no projection"),
        (Case(tasks=4), torch.bfloat16, "2 to 3 tasks"),
        (Case(), torch.float64, "float64"),
        (Case(hidden_size=1000), torch.bfloat16, "hidden units are more than the 768"),
        (Case(hidden_size=700), torch.bfloat16, "do not fit on chip"),
    ],
    ids=str,
)
def test_what_it_does_not_serve(case: Case, dtype: torch.dtype, reason: str, on_host: None) -> None:
    with pytest.raises(RuntimeError, match=f"backend 'cuda' cannot serve this call: .*{reason}"):
        draw(case, dtype).run("cuda")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "exchange", "reason"),
    [
        (Case(tasks=2), "cluster", "clusters serve three tasks"),
        (Case(hidden_size=1025), "cluster", "more than the 1024 that the blocks of a cluster can share"),
    ],
    ids=str,
)
def test_what_clusters_do_not_serve(case: Case, reason: str, on_host: None) -> None:
    with pytest.raises(RuntimeError, match=reason):
        draw(case, torch.bfloat16).run("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["pigeons"])
def test_an_exchange_that_there_is_not(on_host: None) -> None:
    with pytest.raises(ValueError, match="SRN_KERNELS_EXCHANGE should be mailbox or cluster, got 'pigeons'"):
        draw(Case(), torch.bfloat16).run("cuda")


@pytest.mark.slow
def test_float32_is_refused_where_tf32_is_not_allowed(on_host: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee")
    with pytest.raises(RuntimeError, match="fp32_precision does not allow"):
        draw(Case(), torch.float32).run("cuda")


@pytest.mark.slow
def test_where_the_time_of_a_step_goes(
    on_host: None, host_library: Path, host_kernels: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its benchmark, over kernels with stamps, has every part of both passes, with either exchange."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from srn_benchmarks.bench import Bench
    from srn_benchmarks.names import GPU_PARTS
    from srn_benchmarks.options import Options
    from srn_benchmarks.registry import items
    from srn_benchmarks.results import MEASURED, Results
    from srn_benchmarks.tables import sections
    from srn_benchmarks.workloads import parts

    stamped = Path(shutil.copy(host_library, tmp_path))  # a separate module, as on a GPU
    options = Options(False, False, True, None, tmp_path, 1, ("cuda",), None, stamped=stamped)
    (item,) = [item for item in items(options) if item.table == GPU_PARTS]
    results = Results({})
    parts.measure(Bench(options, results, lambda: None), item, "cuda")
    for exchange in cuda.EXCHANGES:
        for kind, names in (("forward", host_kernels.FORWARD_PARTS), ("backward", host_kernels.BACKWARD_PARTS)):
            ran = [case for case in results.cases if (case.labels["exchange"], case.labels["pass"]) == (exchange, kind)]
            assert [case.labels["part"] for case in ran] == names
            assert all(case.status == MEASURED and case.work["cycles"] > 0 for case in ran)
            assert sum(case.work["cycles"] for case in ran) == pytest.approx(ran[0].work["all cycles"], rel=0.01)
    (section,) = [section for section in sections(results) if section.kind == GPU_PARTS]
    (table,) = section.tables
    assert list(table.headers) == ["pass", "exchange", "part", "cycles/step", "of the step"]
    with pytest.raises(ValueError, match="was not built with SRN_STAMPS"):
        parts.load(Path(shutil.copy(native.module().__file__, tmp_path)))


def test_without_a_gpu_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    reason = backends.BACKENDS["cuda"].unavailable()
    assert reason in ("torch finds no CUDA GPU", cuda.NOT_BUILT)
    with pytest.raises(RuntimeError, match="backend 'cuda' cannot serve this call"):
        draw(Case(), torch.bfloat16).run("cuda")
