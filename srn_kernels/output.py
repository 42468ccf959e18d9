"""What an SRN returns when its memories are asked for."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from srn_kernels import layout


class SRNOutput(NamedTuple):
    """Output, final state and memory representations of the last layer.

    A tuple, in which hooks, checkpointing and parallel wrappers find the tensors as in that of ``nn.LSTM``. Reentrant
    checkpointing turns it into a plain tuple of the same order: ``SRNOutput(*result)`` has the names again.

    Shapes are those of a batch-first call; as in ``nn.LSTM``, T comes first without ``batch_first``, B is absent for
    unbatched input, and for a ``PackedSequence`` every field over time is one too, with rows (S, ...). ``directions·H``
    is H, or 2H for a bidirectional module.

    Example:
        >>> import torch
        >>> from srn_kernels import SRN
        >>> rnn = SRN(768, 300, tasks=("entity", "relation"), batch_first=True)
        >>> out = rnn(torch.randn(8, 24, 768), return_memories=True)
        >>> out.memory("entity", "relation").shape
        torch.Size([8, 24, 300])
        >>> torch.equal(out.task("relation")[..., :300], out.memory("relation"))
        True
    """

    output: Tensor | PackedSequence
    """(B, T, directions·P)"""
    hx: tuple[Tensor, Tensor]
    """h_n (layers·directions, B, P) and c_n (layers·directions, B, H)"""
    memories: Tensor | PackedSequence
    """(B, T, M, directions·H), tanh(s_S) for every non-empty subset S of the tasks, Eq. 10"""
    tasks: tuple[str, ...]
    """The tasks' names, in order"""

    # Tensors have no single truth value: a result equals itself.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def memory(self, *tasks: str | int) -> Tensor | PackedSequence:
        """What these tasks share: (B, T, directions·H). The memory of one task excludes the others (Eq. 5); that of several
        holds also what they share with more (Eq. 4).

        Raises:
            ValueError: no task, one named twice, or an unknown one.
        """
        wanted = tuple(sorted(self._index(task) for task in tasks))
        if not wanted or len(set(wanted)) != len(wanted):
            raise ValueError(f"name each task once, and at least one of {list(self.tasks)}, got {list(tasks)}")
        return self._select([layout.subsets(len(self.tasks)).index(wanted)])

    def task(self, task: str | int) -> Tensor | PackedSequence:
        """All that a task can see, side by side in memory order: (B, T, 2^(N-1)·directions·H), Eq. 11.

        Raises:
            ValueError: an unknown task.
        """
        return self._select(layout.visible_memories(len(self.tasks), self._index(task)))

    def _index(self, task: str | int) -> int:
        if isinstance(task, int) and 0 <= task < len(self.tasks):
            return task
        if task in self.tasks:
            return self.tasks.index(task)
        raise ValueError(f"unknown task {task!r}: the tasks are {list(self.tasks)}")

    def _select(self, memories: list[int] | tuple[int, ...]) -> Tensor | PackedSequence:
        if isinstance(self.memories, PackedSequence):
            return self.memories._replace(data=self.memories.data[..., list(memories), :].flatten(-2))
        return self.memories[..., list(memories), :].flatten(-2)
