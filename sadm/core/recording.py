"""Whether code runs, or is being recorded as a graph."""

from __future__ import annotations

import torch


def is_recorded() -> bool:
    """Whether a compiler or an exporter is recording this call as a graph: no value can be looked at then.

    What looks at values, such as checks of arguments and short cuts, is left out of a recording.
    """
    return torch.compiler.is_compiling()
