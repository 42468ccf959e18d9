"""``SRN``: the Selection Recurrent Network with the contract of ``torch.nn.LSTM``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from srn_kernels import backends, layout, validation
from srn_kernels.initialization import UNIFORM, check_name, initialize
from srn_kernels.operator import srn_layer
from srn_kernels.output import SRNOutput
from srn_kernels.tracing import call_module, proxy_of


class SRN(nn.Module):
    """A Selection Recurrent Network, a drop-in for ``torch.nn.LSTM``: only the class name changes.

    Arguments up to ``dtype``, attributes, parameter names, call forms, shapes, ``PackedSequence`` in and out, unbatched
    input and errors are those of ``nn.LSTM``; the cell is that of arXiv 2202.07281, Eq. 1-10. Parameters of layer k
    (suffix ``_reverse`` for the backward direction), with G = 3 + 2N gate blocks and M = 2^N - 1 memories for N tasks:

    - ``weight_ih_l[k]`` (G·H, D), ``weight_hh_l[k]`` (G·H, P), ``bias_ih_l[k]`` and ``bias_hh_l[k]`` (G·H): Eq. 1, 3
    - ``weight_mc_l[k]`` (H, M·H), ``bias_mc_l[k]`` (H): memories to cell state, Eq. 8
    - ``weight_hr_l[k]`` (P, H): with ``proj_size`` only

    where D is ``input_size``, or directions·P above layer 0, H is ``hidden_size`` and P is ``proj_size`` or H. All are
    drawn from U(-1/√H, 1/√H), unless ``init`` says otherwise.

    Args:
        input_size: number of features of the input.
        hidden_size: number of hidden units of a direction.
        num_layers: layers, each fed the output of the one below.
        bias: whether there are bias parameters.
        batch_first: (B, T, ...) instead of (T, B, ...), for input and output but not for the state.
        dropout: probability of zeroing an element of the output of every layer but the last, in training.
        bidirectional: a second direction that runs from the end.
        proj_size: size of a projected hidden state, 0 for none.
        tasks: the tasks' names, or their number.
        recurrent_dropout: probability of zeroing an element of ``weight_hh``, one mask per forward pass, in training.
        cell_clip: c_t is clipped to ± this number after Eq. 8; None is the printed equation, which has no bound and in
            training may need one.
        init: how the parameters begin: ``"uniform"``, or ``"carry"``, with which a unit's state goes on in that unit
            (:mod:`srn_kernels.initialization`), for dependencies over more than a few steps.
        backend: the implementation to use by name, or ``"auto"`` for the fastest that serves the call.

    Example:
        >>> rnn = SRN(768, 300, tasks=("entity", "subject", "object"), batch_first=True)
        >>> output, (h_n, c_n) = rnn(torch.randn(8, 24, 768))
        >>> output.shape
        torch.Size([8, 24, 300])
        >>> out = rnn(torch.randn(8, 24, 768), return_memories=True)
        >>> out.task("entity").shape
        torch.Size([8, 24, 1200])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        tasks: int | Sequence[str] = 3,
        recurrent_dropout: float = 0.0,
        cell_clip: float | None = None,
        init: str = UNIFORM,
        backend: str = backends.AUTO,
    ) -> None:
        super().__init__()
        validation.network(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        validation.probability("recurrent_dropout", recurrent_dropout)
        self.mode = "LSTM"  # tells code that reads it that the state is a pair
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout: float = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.tasks: tuple[str, ...] = validation.task_names(tasks)
        self.recurrent_dropout: float = float(recurrent_dropout)
        self.cell_clip: float | None = validation.bound("cell_clip", cell_clip)
        self.init: str = check_name(init)
        self.backend: str = backends.check_name(backend)
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._directions * self._state_size
            shapes = layout.parameter_shapes(width, hidden_size, proj_size, len(self.tasks), bias)
            for reverse in (False, True)[: self._directions]:
                for name, shape in zip(self._names(layer, reverse), shapes, strict=True):
                    self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _state_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _names(self, layer: int, reverse: bool) -> list[str]:
        return layout.parameter_names(layer, reverse, self.bias, self.proj_size > 0)

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Each direction's parameters, layer by layer, as ``nn.LSTM`` lists them."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    # -- what code that knows nn.LSTM inside out reads, sets and calls ------------------------------------------------

    @property
    def _all_weights(self) -> list[list[str]]:
        return [
            self._names(layer, reverse)
            for layer in range(self.num_layers)
            for reverse in (False, True)[: self._directions]
        ]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: Sequence[Tensor]) -> None:
        """The next call computes with these, by way of the attributes, of which there is no second list."""
        names = self._flat_weights_names
        if len(weights) != len(names):
            raise ValueError(f"_flat_weights should be {len(names)} tensors, for {names}, got {len(weights)}")
        for name, weight in zip(names, weights, strict=True):
            if getattr(self, name, None) is not weight:
                if not isinstance(weight, nn.Parameter):
                    self._parameters.pop(name, None)  # a module refuses a plain tensor in a parameter's place
                setattr(self, name, weight)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """As ``nn.LSTM``'s: the dtype, rank and width of an input, packed rows (S, D) if there are ``batch_sizes``.

        Raises:
            ValueError: a dtype that is not the weights'.
            RuntimeError: another rank or width.
        """
        validation.input_dtype(input, self._flat_weights[0])
        rank = 3 if batch_sizes is None else 2
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got {input.dim()}")
        validation.input_width(input, self.input_size)

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of h_0 for such an input."""
        return self._state_shapes(self._batch(input, batch_sizes))[0]

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of c_0 for such an input."""
        return self._state_shapes(self._batch(input, batch_sizes))[1]

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, ...], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raises RuntimeError with ``msg`` if a state has another shape."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))

    def check_forward_args(self, input: Tensor, hidden: tuple[Tensor, Tensor], batch_sizes: Tensor | None) -> None:
        """:meth:`check_input`, and the sizes of a state (h_0, c_0)."""
        self.check_input(input, batch_sizes)
        validation.state_sizes(hidden, *self._state_shapes(self._batch(input, batch_sizes)))

    def permute_hidden(self, hx: tuple[Tensor, Tensor], permutation: Tensor | None) -> tuple[Tensor, Tensor]:
        """A state (layers·directions, B, ·) with its sequences in another order; None leaves it."""
        if permutation is None:
            return hx
        return hx[0].index_select(1, permutation), hx[1].index_select(1, permutation)

    def _batch(self, input: Tensor, batch_sizes: Tensor | None) -> int:
        return input.shape[0 if self.batch_first else 1] if batch_sizes is None else int(batch_sizes[0])

    def _state_shapes(self, batch: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        states = self.num_layers * self._directions
        return (states, batch, self._state_size), (states, batch, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing, for code that calls it: the parameters need not share one block of memory."""

    def reset_parameters(self) -> None:
        """Draws every parameter as ``init`` says."""
        initialize(self, self.hidden_size, len(self.tasks), self.init)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        defaults |= {"bidirectional": False}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        parts.append(f"tasks={self.tasks}")
        defaults = {"recurrent_dropout": 0, "cell_clip": None, "init": UNIFORM, "backend": backends.AUTO}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(parts)

    @overload
    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, return_memories: Literal[False] = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: tuple[Tensor, Tensor] | None = None, return_memories: Literal[False] = False
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]: ...

    @overload
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        return_memories: Literal[True],
    ) -> SRNOutput: ...

    def forward(self, input, hx=None, return_memories=False):
        """Runs the network.

        Args:
            input: (T, B, D), or (B, T, D) with ``batch_first``, (T, D) unbatched, or a ``PackedSequence``.
            hx: h_0 (layers·directions, B, P) and c_0 (layers·directions, B, H), without B for unbatched input; zeros
                when absent.
            return_memories: whether to return the memory representations too.

        Returns:
            ``output, (h_n, c_n)`` as ``nn.LSTM`` does, or an :class:`SRNOutput` with ``return_memories``.

        Raises:
            ValueError: an input that is not 2-D or 3-D, or whose dtype is not that of the weights.
            RuntimeError: wrong sizes, ranks or devices; or a backend asked for by name that cannot serve the call.
            TypeError: ``hx`` is not a pair of tensors.
        """
        if (proxy := proxy_of(input, hx)) is not None:
            return call_module(proxy, self, input, hx, {"return_memories": return_memories} if return_memories else {})
        if isinstance(input, PackedSequence):
            data, batch_sizes, sorted_indices, unsorted_indices = input
            if data.dim() != 2:
                raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
            if sorted_indices is not None:
                batch = sorted_indices.shape[0]
            elif hx is not None and (torch.compiler.is_compiling() or torch.jit.is_tracing()):
                batch = hx[0].shape[1]  # a tensor's value must not shape a graph: the operator compares at run time
            else:
                batch = batch_sizes[0] if torch.jit.is_tracing() else int(batch_sizes[0])
            if hx is not None:
                h, c = validation.pair(hx)
                self._check(data, (h, c), batch)
                hx = self.permute_hidden((h, c), sorted_indices)
            else:
                self._check(data, None, batch)
            output, h_n, c_n, memories = self._run(data, hx, batch_sizes, batch, return_memories)
            h_n, c_n = self.permute_hidden((h_n, c_n), unsorted_indices)

            def repack(data: Tensor) -> PackedSequence:
                return PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)

            return self._result(repack(output), h_n, c_n, None if memories is None else repack(memories))

        if input.dim() not in (2, 3):
            raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        batch_dim = 0 if self.batch_first and batched else 1
        if not batched:
            input = input.unsqueeze(1)
        if hx is not None:
            h, c = validation.pair(hx)
            rank, kind = (3, "batched") if batched else (2, "unbatched")
            if h.dim() != rank or c.dim() != rank:
                raise RuntimeError(
                    f"For {kind} {rank}-D input, hx and cx should also be {rank}-D but got "
                    f"({h.dim()}-D, {c.dim()}-D) tensors"
                )
            hx = (h, c) if batched else (h.unsqueeze(1), c.unsqueeze(1))
        batch, time = input.shape[batch_dim], input.shape[1 - batch_dim]
        self._check(input, hx, batch)
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        rows = (input.transpose(0, 1) if batch_dim == 0 else input).reshape(time * batch, self.input_size)  # (T·B, D)
        output, h_n, c_n, memories = self._run(rows, hx, None, batch, return_memories)

        def unpack(data: Tensor) -> Tensor:
            data = data.unflatten(0, (time, batch))
            if not batched:
                return data.squeeze(1)
            return data.transpose(0, 1) if self.batch_first else data

        if not batched:
            h_n, c_n = h_n.squeeze(1), c_n.squeeze(1)
        return self._result(unpack(output), h_n, c_n, None if memories is None else unpack(memories))

    def _check(self, input: Tensor, hx: tuple[Tensor, Tensor] | None, batch: int) -> None:
        weight = getattr(self, self._names(0, False)[0])
        validation.input_dtype(input, weight)
        validation.input_width(input, self.input_size)
        if hx is not None:
            validation.state_sizes(hx, *self._state_shapes(batch))
        validation.devices(input, weight, hx or ())
        if hx is not None:
            validation.state_dtypes(hx, input)

    def _result(self, output, h_n, c_n, memories):
        if memories is None:
            return output, (h_n, c_n)
        return SRNOutput(output, (h_n, c_n), memories, self.tasks)

    def _run(
        self,
        rows: Tensor,
        hx: tuple[Tensor, Tensor] | None,
        batch_sizes: Tensor | None,
        batch: int,
        return_memories: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """All layers over packed rows (S, D): output (S, ·), h_n, c_n (layers·directions, B, ·), the last memories."""
        directions = self._directions
        if hx is None:
            h0 = rows.new_zeros(self.num_layers * directions, batch, self._state_size)
            c0 = rows.new_zeros(self.num_layers * directions, batch, self.hidden_size)
        else:
            h0, c0 = hx
        h_n, c_n, memories = [], [], None
        for layer in range(self.num_layers):
            if layer > 0:
                rows = F.dropout(rows, self.dropout, self.training)
            of_layer = slice(layer * directions, (layer + 1) * directions)
            last = layer == self.num_layers - 1
            rows, h, c, memories = srn_layer(
                rows,
                h0[of_layer],
                c0[of_layer],
                self._layer_weights(layer),
                batch_sizes,
                tasks=len(self.tasks),
                cell_clip=self.cell_clip,
                memories=return_memories and last,
                backend=self.backend,
            )
            h_n.append(h)
            c_n.append(c)
        return rows, torch.cat(h_n), torch.cat(c_n), memories

    def _layer_weights(self, layer: int) -> list[Tensor]:
        """A layer's parameters as they are now (tied, replaced or parametrized), with DropConnect on ``weight_hh``."""
        weights = []
        for reverse in (False, True)[: self._directions]:
            for name in self._names(layer, reverse):
                weight = getattr(self, name)
                if self.recurrent_dropout and name.startswith("weight_hh"):
                    weight = F.dropout(weight, self.recurrent_dropout, self.training)
                weights.append(weight)
        return weights
