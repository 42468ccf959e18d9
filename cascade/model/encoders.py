"""Encoders by name: the recurrent layer between the trunk and the turns, and what each task sees of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from srn_kernels import SRN

from ..tensors import Sequences
from .config import ExtractorConfig
from .pfn import PartitionFilter

Encode = Callable[[Sequences, Sequence[str]], dict[str, Tensor]]
"""``ExtractionModel.encode``: features (N, F) for each task, of the N words of the sequences."""


class TaskEncoder(nn.Module):
    """Packed trunk states in, features of each task out. ``feature_size``: how many numbers a task sees of a piece."""

    feature_size: int

    def forward(self, states: PackedSequence, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(N, feature_size) for each of ``tasks``: the packed rows of ``states`` (N, D), in their order."""
        raise NotImplementedError


class SRNEncoder(TaskEncoder):
    """The SRN: a task sees the 2^(tasks-1) memories that it has a part in, of both directions if there are two."""

    def __init__(self, config: ExtractorConfig, input_size: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.rnn = SRN(
            input_size,
            config.hidden_size,
            batch_first=True,
            bidirectional=config.encoder == "bisrn",
            tasks=tuple(tasks),
            recurrent_dropout=config.recurrent_dropout,
            init=config.srn_init,
            cell_clip=config.cell_clip,
            backend=config.backend,
        )
        self.feature_size = 2 ** (len(tasks) - 1) * config.hidden_size * (2 if config.encoder == "bisrn" else 1)

    def forward(self, states: PackedSequence, tasks: Sequence[str]) -> dict[str, Tensor]:
        output = self.rnn(states, return_memories=True)
        return {task: output.task(task).data for task in tasks}


class BiLSTMEncoder(TaskEncoder):
    """A bidirectional LSTM: every task sees all of it."""

    def __init__(self, config: ExtractorConfig, input_size: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size, config.hidden_size, batch_first=True, bidirectional=True)
        self.feature_size = 2 * config.hidden_size

    def forward(self, states: PackedSequence, tasks: Sequence[str]) -> dict[str, Tensor]:
        output, _ = self.rnn(states)
        return dict.fromkeys(tasks, output.data)


class PartitionEncoder(TaskEncoder):
    """The partition filter: the first task (entities) sees the entity and shared memories, every other one (subjects,
    objects, relations) the relation and shared memories."""

    def __init__(self, config: ExtractorConfig, input_size: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.rnn = PartitionFilter(input_size, config.hidden_size, config.recurrent_dropout)
        self.feature_size = 2 * config.hidden_size
        self.entity_task = tasks[0]

    def forward(self, states: PackedSequence, tasks: Sequence[str]) -> dict[str, Tensor]:
        memories = self.rnn(states)  # (N, 3, H): entity, relation, shared
        of_task = {True: memories[:, [0, 2]].flatten(1), False: memories[:, 1:].flatten(1)}
        return {task: of_task[task == self.entity_task] for task in tasks}


class NoEncoder(TaskEncoder):
    """No recurrent layer: every task sees the trunk's states."""

    def __init__(self, config: ExtractorConfig, input_size: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.feature_size = input_size

    def forward(self, states: PackedSequence, tasks: Sequence[str]) -> dict[str, Tensor]:
        return dict.fromkeys(tasks, states.data)


# Layers that transformers cannot initialise; each has ``reset_parameters`` for that.
RECURRENT_LAYERS = (SRN, PartitionFilter)

_CLASSES: dict[str, type[TaskEncoder]] = {
    "srn": SRNEncoder,
    "bisrn": SRNEncoder,
    "bilstm": BiLSTMEncoder,
    "pfn": PartitionEncoder,
    "none": NoEncoder,
}


def build_encoder(config: ExtractorConfig, input_size: int, tasks: Sequence[str]) -> TaskEncoder:
    """The encoder that ``config.encoder`` names, for ``tasks`` on trunk states of ``input_size``."""
    return _CLASSES[config.encoder](config, input_size, tasks)
