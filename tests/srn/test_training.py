"""Training: truncated backpropagation, a loss that falls, several processes, dropout on the recurrence."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from srn_kernels import SRN, SRNCell

D, H = 4, 6


def test_truncated_backpropagation() -> None:
    """Chunks with a carried, detached state give a full run's values, and the gradients of each chunk alone."""
    rnn = SRN(D, H, 2, dtype=torch.float64)
    x = torch.randn(12, 3, D, dtype=torch.float64)
    expected, expected_hx = rnn(x)
    outputs, hx = [], None
    for chunk in x.split(4):
        output, hx = rnn(chunk, hx)
        hx = tuple(state.detach() for state in hx)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(hx, expected_hx, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    # What flows back stays within the last chunk.
    state = tuple(s.detach() for s in rnn(x[:8])[1])
    wanted = torch.autograd.grad(rnn(x[8:], state)[0].sum(), list(rnn.parameters()))
    got = torch.autograd.grad(outputs[-1].sum(), list(rnn.parameters()))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_state_carried_with_its_graph_gives_the_full_gradient() -> None:
    rnn = SRN(D, H, dtype=torch.float64)
    x = torch.randn(12, 3, D, dtype=torch.float64)
    wanted = torch.autograd.grad(rnn(x)[0].pow(2).sum(), list(rnn.parameters()))
    loss, hx = 0.0, None
    for chunk in x.split(4):
        output, hx = rnn(chunk, hx)
        loss = loss + output.pow(2).sum()
    for one, other in zip(torch.autograd.grad(loss, list(rnn.parameters())), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_learns_to_remember() -> None:
    """Each task's representation must give one bit of the first word three steps later."""
    torch.manual_seed(0)
    rnn = SRN(3, 16, tasks=("a", "b", "c"))
    heads = nn.ModuleList(nn.Linear(4 * 16, 1) for _ in range(3))
    optimizer = torch.optim.Adam([*rnn.parameters(), *heads.parameters()], lr=0.02)
    losses = []
    for _ in range(120):
        bits = torch.randint(2, (32, 3)).float()
        x = torch.cat([bits[None] * 2 - 1, torch.zeros(3, 32, 3)])  # (4, 32, 3)
        out = rnn(x, return_memories=True)
        loss = sum(
            nn.functional.binary_cross_entropy_with_logits(head(out.task(task)[-1])[:, 0], bits[:, index])
            for index, (task, head) in enumerate(zip(rnn.tasks, heads, strict=True))
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.8  # three coins, 3 ln 2 = 2.08
    assert losses[-1] < 0.2


def test_deterministic_mode_is_served_and_repeats() -> None:
    assert torch.are_deterministic_algorithms_enabled()
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        rnn = SRN(D, H, 2, bidirectional=True, dropout=0.3, recurrent_dropout=0.3)
        out = rnn(torch.randn(6, 3, D), return_memories=True)
        (out.task(0).pow(2).sum() + out.output.sum()).backward()
        gradients.append([parameter.grad for parameter in rnn.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_recurrent_dropout_is_one_mask_for_all_steps() -> None:
    """A run under a mask is a run with the masked, rescaled weights: the same ones at every step."""
    rate = 0.5
    rnn = SRN(D, H, recurrent_dropout=rate, dtype=torch.float64).train()
    x = torch.randn(9, 3, D, dtype=torch.float64)
    torch.manual_seed(7)
    dropped = rnn(x)[0]
    masked = SRN(D, H, dtype=torch.float64)
    masked.load_state_dict(rnn.state_dict())
    torch.manual_seed(7)
    masked.weight_hh_l0 = nn.Parameter(nn.functional.dropout(rnn.weight_hh_l0.detach(), rate))
    assert torch.equal(dropped, masked(x)[0])
    assert not torch.equal(dropped, rnn(x)[0])  # the next forward draws another


def test_recurrent_dropout_touches_the_recurrence_alone() -> None:
    rnn = SRN(D, H, recurrent_dropout=1.0)
    x, zeros = torch.randn(1, 3, D), torch.zeros(1, 3, H)
    expected = rnn.eval()(x, (zeros, torch.ones(1, 3, H)))[0]
    assert torch.equal(rnn.train()(x, (zeros, torch.ones(1, 3, H)))[0], expected)
    h0 = torch.randn(1, 3, H)
    torch.testing.assert_close(rnn(x, (h0, torch.ones(1, 3, H)))[0], expected)  # all of weight_hh is gone
    rnn(x, (h0, zeros))[0].sum().backward()
    assert torch.equal(rnn.weight_hh_l0.grad, torch.zeros_like(rnn.weight_hh_l0))


def test_recurrent_dropout_is_off_in_evaluation() -> None:
    rnn = SRN(D, H, recurrent_dropout=0.9).eval()
    plain = SRN(D, H)
    plain.load_state_dict(rnn.state_dict())
    x = torch.randn(5, 3, D)
    assert torch.equal(rnn(x)[0], plain(x)[0])


def test_recurrent_dropout_keeps_the_expected_share() -> None:
    """The gradient of weight_hh is zero exactly where it was dropped; each direction and layer has its own mask."""
    rnn = SRN(D, 40, 2, bidirectional=True, recurrent_dropout=0.3, dtype=torch.float64)
    rnn(torch.randn(5, 3, D, dtype=torch.float64))[0].pow(2).sum().backward()
    masks = [rnn.get_parameter(f"weight_hh_l{k}{suffix}").grad == 0 for k in range(2) for suffix in ("", "_reverse")]
    for mask in masks:
        assert abs(mask.double().mean().item() - 0.3) < 0.02  # 14,400 draws: 0.3 ± 0.004
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 4
    assert (rnn.weight_ih_l0.grad != 0).all()


def data(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, size, D, generator=generator), torch.randn(6, size, 2 * 4 * H, generator=generator)


class Model(nn.Module):
    """Uses the output and the memories of one task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = SRN(D, H, 2, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.rnn(x, return_memories=True)
        return out.task(0) + out.output.sum(-1, keepdim=True)


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (model(x) - y).pow(2).mean()


def train_a_shard(rank: int, folder: str) -> None:
    """One of two processes: half of the batch, gradients averaged by DDP."""
    torch.set_num_threads(1)
    store = dist.FileStore(os.path.join(folder, "store"), 2)  # no port to collide on
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = DistributedDataParallel(Model())
    x, y = (tensor.chunk(2, dim=1)[rank] for tensor in data(8))
    loss_of(model, x, y).backward()
    torch.save([parameter.grad for parameter in model.module.parameters()], os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    context = mp.spawn(train_a_shard, args=(str(tmp_path),), nprocs=2, join=False)
    deadline = time.monotonic() + 120
    try:
        while not context.join(timeout=5):  # raises what a process raised
            assert time.monotonic() < deadline, "the two processes did not end in time"
    finally:
        for process in context.processes:
            process.kill()
    model = Model()
    loss_of(model, *data(8)).backward()
    shards = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, parameter in model.named_parameters():
        for gradients in shards:
            got = gradients[[n for n, _ in model.named_parameters()].index(name)]
            torch.testing.assert_close(got, parameter.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_a_cell_trains_as_the_network_does() -> None:
    """A few steps of an optimizer on either leave the same weights."""
    rnn, cell = SRN(D, H, dtype=torch.float64), SRNCell(D, H, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()})
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in (rnn, cell)]
    for _ in range(3):
        x = torch.randn(5, 3, D, dtype=torch.float64)
        hx, outputs = None, []
        for row in x:
            hx = cell(row, hx)
            outputs.append(hx[0])
        for output, optimizer in zip((rnn(x)[0], torch.stack(outputs)), optimizers, strict=True):
            optimizer.zero_grad()
            output.pow(2).mean().backward()
            optimizer.step()
    for one, other in zip(rnn.parameters(), cell.parameters(), strict=True):
        torch.testing.assert_close(one, other)
