"""The public layout: order of the memories, names and shapes of the parameters, flops, and checks of packed rows."""

from __future__ import annotations

import pytest
import torch

from srn_kernels import SRN, layout

from .equations import MEMORIES


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_memories_are_ordered_by_size_and_then_by_task(tasks: int) -> None:
    named = ["".join("esox"[task] for task in subset) for subset in layout.subsets(tasks)]
    assert named == MEMORIES[tasks]


@pytest.mark.parametrize("task", [0, 1, 2])
def test_a_task_sees_the_memories_that_name_it(task: int) -> None:
    seen = [MEMORIES[3][index] for index in layout.visible_memories(3, task)]
    assert seen == [["e", "es", "eo", "eso"], ["s", "es", "so", "eso"], ["o", "eo", "so", "eso"]][task]  # Eq. 11


def test_parameters_have_the_documented_names_and_shapes() -> None:
    rnn = SRN(5, 4, num_layers=2, bidirectional=True, proj_size=3, tasks=3)
    expected = {}
    for layer, width in ((0, 5), (1, 2 * 3)):
        for suffix in ("", "_reverse"):
            expected |= {
                f"weight_ih_l{layer}{suffix}": (9 * 4, width),
                f"weight_hh_l{layer}{suffix}": (9 * 4, 3),
                f"bias_ih_l{layer}{suffix}": (9 * 4,),
                f"bias_hh_l{layer}{suffix}": (9 * 4,),
                f"weight_mc_l{layer}{suffix}": (4, 7 * 4),
                f"bias_mc_l{layer}{suffix}": (4,),
                f"weight_hr_l{layer}{suffix}": (3, 4),
            }
    assert {name: tuple(p.shape) for name, p in rnn.named_parameters()} == expected
    assert list(rnn.state_dict()) == list(expected)


def test_without_bias_and_projection_three_parameters_remain() -> None:
    assert list(SRN(5, 4, bias=False).state_dict()) == ["weight_ih_l0", "weight_hh_l0", "weight_mc_l0"]


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_gates_and_memories_grow_with_the_tasks_as_documented(tasks: int) -> None:
    rnn = SRN(5, 4, tasks=tasks)
    assert rnn.weight_ih_l0.shape == ((3 + 2 * tasks) * 4, 5)
    assert rnn.weight_mc_l0.shape == (4, (2**tasks - 1) * 4)


def test_parameters_are_drawn_uniformly_within_the_bound() -> None:
    rnn = SRN(50, 64)
    for parameter in rnn.parameters():
        assert parameter.abs().max() <= 1 / 8
        assert parameter.abs().max() > 0.9 / 8
        assert parameter.mean().abs() < 0.1 / 8 * (1 if parameter.dim() > 1 else 3)


def test_flops_are_those_of_the_three_products() -> None:
    # 2·S·(G·H·(D+H) + M·H²) of one direction
    assert layout.forward_flops(rows=10, input_size=5, hidden_size=4, tasks=3) == 2 * 10 * (9 * 4 * (5 + 4) + 7 * 4 * 4)


@pytest.mark.parametrize(
    ("sizes", "rows", "batch"),
    [
        ([2, 3], 5, 2),  # grows
        ([3, 2], 6, 3),  # rows too many
        ([3, 2], 4, 3),  # rows too few
        ([2, 2], 4, 3),  # does not start at the batch size
        ([2, 0], 2, 2),  # an empty step
        ([], 4, 2),  # no step for four rows
        (None, 5, 2),  # equal lengths do not divide
        (None, 5, 0),  # rows without a sequence
    ],
)
def test_batch_sizes_that_do_not_describe_the_rows_are_refused(sizes: list[int] | None, rows: int, batch: int) -> None:
    with pytest.raises(ValueError, match="batch_sizes"):
        layout.Steps(None if sizes is None else torch.tensor(sizes, dtype=torch.int64), rows, batch)


@pytest.mark.parametrize("reverse", [False, True])
def test_previous_rows_are_those_of_the_same_sequence(reverse: bool) -> None:
    # Lengths 3, 2, 1: rows 0-2 are step 0, rows 3-4 step 1, row 5 step 2. The initial states come first.
    steps = layout.Steps(torch.tensor([3, 2, 1]), 6, 3)
    forward, backward = [0, 1, 2, 3, 4, 6], [6, 7, 2, 8, 1, 0]
    assert steps.previous(3, reverse).tolist() == (backward if reverse else forward)
