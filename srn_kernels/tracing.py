"""How ``torch.fx.symbolic_trace`` sees our modules: as it sees ``nn.LSTM``, as one node."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.fx import Proxy


def call_module(module: nn.Module, input: Proxy, hx: object, keywords: Mapping[str, object]) -> Proxy:
    """A node that calls the module. A tracer takes only ``torch.nn``'s modules for leaves, and calls all others."""
    arguments = (input,) if hx is None else (input, hx)
    return input.tracer.create_proxy("call_module", input.tracer.path_of_module(module), arguments, dict(keywords))
