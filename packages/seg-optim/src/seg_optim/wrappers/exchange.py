"""When gradients may stay on their rank until a later pass is exchanged."""

from __future__ import annotations

__all__ = ["knows_graph"]

KNOWN = "_seg_optim_graph_is_known"


def knows_graph(model: object) -> bool:
    """Tell whether a pass of a model in DDP need not be exchanged: not the first one of a static graph.

    Torch learns the graph in that pass, and without an exchange it fails inside torch (pytorch#143580). One exchange
    more leaves the sum of the gradients as it is.
    """
    if not getattr(model, "static_graph", False) or KNOWN in vars(model):
        return True
    vars(model)[KNOWN] = True
    return False
