"""The native CPU backend beyond its numbers: every instruction set, every number of threads, callers at once."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from srn_kernels import SRN, layout, native, srn_layer
from srn_kernels.backends import cpu

from .accuracy import assert_accurate, backend_results, draw_seeds, result_names
from .builds import ROOT
from .cases import Case, draw

WIDE = Case(steps=4, batch=9, hidden_size=70, input_size=11, directions=2, ragged=True)  # worth several threads
SIZES = [
    WIDE,
    Case(steps=5, hidden_size=33, proj_size=17, ragged=True),
    Case(steps=3, batch=150, hidden_size=3),
    Case(steps=1, batch=4, hidden_size=33, proj_size=17, input_size=70),
]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", [WIDE, Case(steps=5, batch=20, hidden_size=70, proj_size=20)], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(
    case: Case, dtype: torch.dtype, count: int, threads: None
) -> None:
    """Work is split by hidden unit, never a sum: what torch's mm takes no part in repeats bit for bit."""
    call = draw(case, dtype)
    seeds = draw_seeds(call)
    torch.set_num_threads(1)
    alone = backend_results(call, seeds, "cpu")
    torch.set_num_threads(count)
    for _ in range(3):
        together = backend_results(call, seeds, "cpu")
        for name in ("output", "h_n", "c_n", "memories", "gradient of h0", "gradient of c0"):
            assert torch.equal(alone[name], together.pop(name)), name
        assert_accurate(together, call, seeds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "case", [*SIZES, *(Case(steps=n, batch=b, tasks=2) for n in (0, 1, 5) for b in (0, 1))], ids=str
)
def test_kernels_stay_within_their_workspace(case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes behind the workspace keep their value, and bytes in it may have any."""
    guard, mark, allocated = 4096, 0xA5, []

    class Guarded(cpu.Workspaces):
        def take(self, size: int) -> torch.Tensor:
            memory = torch.full((size + guard,), 0xFF, dtype=torch.uint8)
            behind = cpu._aligned(memory) - memory.data_ptr() + size - native.module().ALIGNMENT
            memory[behind:] = mark
            allocated.append((memory, behind))
            return memory

    monkeypatch.setattr(cpu, "workspaces", Guarded(0))
    call = draw(case, dtype)
    seeds = draw_seeds(call)
    backend_results(call, seeds, "cpu")
    assert len(allocated) == 2 * case.directions
    for memory, behind in allocated:
        assert (memory[behind:] == mark).all()


@pytest.mark.parametrize("rows", [1, 9, 14])
@pytest.mark.parametrize(
    "case",
    [
        Case(steps=7, batch=9, hidden_size=12, directions=2, ragged=True),
        Case(steps=7, batch=4, hidden_size=12, directions=2),
        Case(steps=6, batch=5, hidden_size=9, proj_size=4, directions=2, ragged=True),
        Case(steps=6, batch=5, hidden_size=9, proj_size=4, bias=False),
        Case(steps=7, batch=4, hidden_size=5, directions=2, ragged=True, cell_clip=0.25),
    ],
    ids=str,
)
def test_a_backward_pass_in_parts(case: Case, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows at a time, as for long inputs: gradients pass between parts, also where sequences end or start."""
    call = draw(case, torch.bfloat16)
    seeds = draw_seeds(call)
    passes, run = [], cpu._backward_of_part
    monkeypatch.setattr(cpu, "_backward_of_part", lambda *arguments: passes.append(1) or run(*arguments))
    monkeypatch.setattr(cpu, "_PART_ROWS", rows)
    parts = backend_results(call, seeds, "cpu")
    assert len(passes) >= 2 * case.directions
    assert_accurate(parts, call, seeds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "case",
    [
        Case(steps=9, batch=100, input_size=50, hidden_size=20, directions=2, ragged=True),
        Case(steps=600, batch=1, input_size=3, hidden_size=9, directions=2, proj_size=4),
        Case(steps=2, batch=530, input_size=100, hidden_size=17, directions=2, ragged=True, proj_size=9, bias=False),
    ],
    ids=str,
)
def test_gradients_over_more_rows_than_are_summed_at_once(case: Case, dtype: torch.dtype) -> None:
    """Sums go on from one block of rows to the next: within a step of many sequences, and from step to step."""
    call = draw(case, dtype)
    seeds = draw_seeds(call)
    assert_accurate(backend_results(call, seeds, "cpu"), call, seeds)


@pytest.mark.parametrize("directions", [1, 2])
def test_gradients_over_many_blocks_of_rows_do_not_depend_on_the_number_of_threads(directions: int) -> None:
    """Threads share what the recurrence leaves and begin anew with every block: 1,300 rows, in steps of 65."""
    call = draw(Case(steps=20, batch=65, input_size=60, hidden_size=40, directions=directions), torch.float32)
    seeds, before = draw_seeds(call), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append(backend_results(call, seeds, "cpu"))
    finally:
        torch.set_num_threads(before)
    for again in results[1:]:
        torch.testing.assert_close(again, results[0], rtol=0, atol=0)


def test_the_library_takes_every_field_and_no_other() -> None:
    """A buffer that was forgotten would be a null pointer."""
    module, sizes = native.module(), torch.ones(1, dtype=torch.int64)
    fields = {"dtype": "float32", "tasks": 3, "steps": 1, "batch": 1, "rows": 1, "input": 2, "hidden": 3, "state": 3}
    fields |= {"projection": False, "reverse": False, "threads": 1, "batch_sizes": sizes.data_ptr()}
    shape = module.Shape(**fields)
    assert shape.forward_workspace > 0 and shape.backward_workspace > 0
    for changes, error, message in [
        ({"width": 1}, TypeError, "there is no field width"),
        ({"threads": 0}, ValueError, "threads should be at least 1"),
        ({"tasks": module.MAX_TASKS + 1}, ValueError, "tasks out of range"),
        ({"dtype": "float16"}, ValueError, "the CPU kernels have no float16"),
        ({"dtype": "int8"}, ValueError, "dtype should be float32, float64, bfloat16 or float16, got int8"),
    ]:
        with pytest.raises(error, match=message):
            module.Shape(**fields | changes)
    for name in fields:
        with pytest.raises(TypeError, match=f"missing field {name}$"):
            module.Shape(**{key: value for key, value in fields.items() if key != name})
    for run in (module.forward, module.backward):
        with pytest.raises(TypeError, match="missing field "):
            run(shape, c0=0)
        with pytest.raises(ValueError, match="weights should be seven addresses"):
            run(shape, weights=(0, 0))


def test_callers_at_once_do_not_disturb_each_other(threads: None) -> None:
    torch.set_num_threads(2)
    calls = [draw(WIDE, torch.float32) for _ in range(4)]
    seeds = [draw_seeds(call) for call in calls]
    alone = [backend_results(call, seed, "cpu") for call, seed in zip(calls, seeds, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda call, seed: backend_results(call, seed, "cpu"), calls, seeds))
            for one, other in zip(alone, together, strict=True):
                assert [name for name in one if not torch.equal(one[name], other[name])] == []


def python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a new process, which finds the modules that this one finds."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_library_of_another_version_is_refused() -> None:
    done = python(
        "import sys, types; sys.modules['srn_kernels._C'] = types.ModuleType('_C')\n"
        "from srn_kernels import native; print(native.missing()); native.module()"
    )
    assert done.stdout.startswith("the native library is of another version (")
    assert done.stderr.endswith(f"RuntimeError: {done.stdout}")


@pytest.mark.parametrize("isa", native.module().build_info()["cpu_isas"].split())
def test_every_instruction_set(isa: str, tmp_path: Path) -> None:
    """A process chooses once, so each set runs in a new one; a set that the processor lacks must be refused."""
    file = tmp_path / "results.pt"
    calls = [draw(case, dtype) for case in SIZES for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    problems = [(call, draw_seeds(call)) for call in calls]
    torch.save([(call.tensors(), call.batch_sizes, seeds) for call, seeds in problems], file)
    done = python(RUN_SAVED, str(file), SRN_KERNELS_ISA=isa)
    if done.returncode and "cannot be used" in done.stderr:
        pytest.skip(f"needs a processor with {isa}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, str(isa in ("avx512bf16", "amx"))]
    for (call, seeds), results in zip(problems, torch.load(file), strict=True):
        assert_accurate(dict(zip(result_names(call), results, strict=True)), call, seeds)


RUN_SAVED = """
import sys, torch
from srn_kernels import SRN, layout, native, srn_layer
from srn_kernels.backends import cpu
cpu._PART_ROWS = 40  # so that some of the calls go back in parts, where the kernels do not do the products over all rows
done = []
for tensors, batch_sizes, seeds in torch.load(sys.argv[1]):
    for tensor in tensors:
        tensor.requires_grad_()
    outputs = srn_layer(*tensors[:3], tensors[3:], batch_sizes, tasks=3, memories=True, backend="cpu")
    grads = torch.autograd.grad(outputs, tensors, seeds)
    done.append([value.detach() for value in (*outputs, *grads)])
torch.save(done, sys.argv[1])
print(native.module().cpu_isa(), native.multiplies_bfloat16())
"""


@pytest.mark.slow
def test_no_function_is_shared_between_instruction_sets(tmp_path: Path) -> None:
    """If several objects define a function, the linker keeps one copy, perhaps that of a better processor.

    So each object defines nothing outside the namespace of its instruction set. Objects are compiled without
    optimisation: all inline functions and templates that they use then appear, like std::max of a list.
    """
    for tool in ("cmake", "ninja", "nm", os.environ.get("CXX", "c++")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    # The widest set of each source: whatever is compiled for the others is compiled for these.
    built = native.module().build_info()["cpu_isas"].split()
    isas = [isa for isa in built if isa.startswith("avx512") or isa == "amx"] or built
    configure = [
        *("cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", "-DSRN_CUDA=OFF"),
        *("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"),
        *(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"),
    ]
    for command in (configure, ["cmake", "--build", tmp_path, "--target", *(f"srn_cpu_{isa}" for isa in isas)]):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    for isa in isas:
        (file,) = tmp_path.glob(f"CMakeFiles/srn_cpu_{isa}.dir/csrc/cpu/*.o")
        listed = subprocess.run(["nm", "-P", "-g", "--defined-only", file], capture_output=True, text=True, check=True)
        names = [line.split()[0] for line in listed.stdout.splitlines()]
        # DW.ref.: an address for exceptions, the same in each object, and no code.
        shared = [name for name in names if f"{len(isa)}{isa}" not in name and not name.startswith("DW.ref.")]
        assert f"_ZN3srn{len(isa)}{isa}8kKernelsE" in names
        assert shared == [], isa


@pytest.mark.parametrize("limit", [1, 2])
def test_fewer_threads_than_asked_for(limit: int, tmp_path: Path) -> None:
    """OpenMP may grant fewer threads; none may wait for those that never come."""
    file = tmp_path / "results.pt"
    call = draw(WIDE, torch.float32)
    seeds = draw_seeds(call)
    torch.save([(call.tensors(), call.batch_sizes, seeds)], file)
    done = python("import torch\ntorch.set_num_threads(4)" + RUN_SAVED, str(file), OMP_THREAD_LIMIT=str(limit))
    assert done.returncode == 0, done.stderr
    (results,) = torch.load(file)
    assert_accurate(dict(zip(result_names(call), results, strict=True)), call, seeds)


def test_an_unknown_instruction_set_is_refused_with_the_names_there_are() -> None:
    done = python(
        "from srn_kernels import backends; print(backends.BACKENDS['cpu'].unavailable())", SRN_KERNELS_ISA="avx1024"
    )
    assert done.returncode == 0, done.stderr
    assert "SRN_KERNELS_ISA=avx1024 cannot be used" in done.stdout and "portable" in done.stdout


@pytest.mark.parametrize(
    "batch_sizes",
    [
        torch.tensor([3, 2, 1], dtype=torch.int32),
        torch.tensor([3, 9, 2, 9, 1, 9])[::2],
        torch.tensor([9, 3, 2, 1])[1:],
    ],
    ids=["int32", "strided", "offset"],
)
def test_batch_sizes_of_any_integer_type_and_layout(batch_sizes: torch.Tensor) -> None:
    call = draw(Case(steps=2, batch=3))  # six rows
    arguments = call.input, call.h0, call.c0, call.weights
    got = srn_layer(*arguments, batch_sizes, backend="cpu")
    expected = srn_layer(*arguments, torch.tensor([3, 2, 1]), backend="cpu")
    for one, other in zip(got[:3], expected[:3], strict=True):
        assert torch.equal(one, other)


def test_workspaces_are_bounded_in_all() -> None:
    """However many threads call at once, and however often sizes change."""
    kept = cpu.Workspaces(1000)
    taken = [kept.take(400) for _ in range(8)]
    assert len({memory.data_ptr() for memory in taken}) == 8 and kept.kept() == 0
    for memory in taken:
        kept.give_back(memory)
    assert kept.kept() == 800
    assert kept.take(300).data_ptr() == taken[-1].data_ptr() and kept.kept() == 400
    large = kept.take(700)
    kept.give_back(large)
    assert kept.kept() == 700  # the smaller one has made room
    kept.give_back(kept.take(5000))
    assert kept.kept() == 0  # and so has all else for what is itself too large to be kept


def test_threads_that_wait_hold_no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "workspaces", cpu.Workspaces(1 << 26))
    rnn, x = SRN(30, 64), torch.randn(8, 4, 30)
    expected = rnn(x)[0]
    one, together, turn = cpu.workspaces.kept(), threading.Barrier(8), threading.Lock()

    def serve(_: int) -> torch.Tensor:
        together.wait()
        with turn:
            return rnn(x)[0]

    with ThreadPoolExecutor(8) as pool:
        assert all(torch.equal(output, expected) for output in pool.map(serve, range(8)))
        assert cpu.workspaces.kept() == one > 0


def test_long_calls_leave_no_tables_behind() -> None:
    rnn = SRN(1, 2, tasks=1)
    rnn(torch.zeros(3, 1, 1))
    gc.collect()
    before = [cpu._kept_shape.cache_info().currsize, layout._equal_steps.cache_info().currsize]
    for more in range(3):
        steps = layout.Steps.of(None, 2 * (20_000 + more), 2)
        assert sys.getsizeof(steps.sizes) + sys.getsizeof(steps.offsets) < 200
        rnn(torch.zeros(20_000 + more, 2, 1))
    assert [cpu._kept_shape.cache_info().currsize, layout._equal_steps.cache_info().currsize] == before


def test_unequal_lengths_do_not_take_the_place_of_shapes_that_come_again() -> None:
    rnn, x = SRN(3, 4, backend="cpu"), torch.randn(5, 2, 3)
    cpu._kept_shape.cache_clear()
    for _ in range(2):
        rnn(x)
        rnn(pack_padded_sequence(x, torch.tensor([5, 3])))
    kept = cpu._kept_shape.cache_info()
    assert (kept.currsize, kept.hits) == (1, 1)


def test_a_forked_process_does_not_wait_for_a_thread_that_it_lacks() -> None:
    """The lock may be held at the moment of the fork."""
    with cpu.workspaces._lock:
        child = os.fork()
        if child == 0:
            cpu.workspaces.give_back(cpu.workspaces.take(100))
            os._exit(0)
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
