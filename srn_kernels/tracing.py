"""How ``torch.fx.symbolic_trace`` sees our modules: as it sees ``nn.LSTM``, as one node."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.fx import Proxy


def proxy_of(input: object, hx: object) -> Proxy | None:
    """One of a call's arguments that stands for a tensor in a graph; None outside of a trace."""
    if isinstance(input, Proxy):
        return input
    for part in hx if isinstance(hx, (tuple, list)) else (hx,):
        if isinstance(part, Proxy):
            return part
    return None


def call_module(proxy: Proxy, module: nn.Module, input: object, hx: object, keywords: Mapping[str, object]) -> Proxy:
    """A node that calls the module. A tracer takes only ``torch.nn``'s modules for leaves, and calls all others."""
    arguments = (input,) if hx is None else (input, hx)
    tracer = proxy.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, dict(keywords))
