"""An exported program in the words in which networks are written: layers, and torch's functions.

A program calls ATen's functions on bare weights. Here convolutions, linear layers and batch norm
become modules again, under the names that their weights have, activations in pieces are put
together, and what is not known stays as it is.
"""

import operator

from torch import fx, nn
from torch.fx import Node

from xai_exp.formats.programs.functions import aten, called
from xai_exp.formats.programs.layers import layer_of
from xai_exp.formats.programs.pieces import with_activations


def readable(module: fx.GraphModule) -> fx.GraphModule:
    """The program with its layers and functions by their usual names; it shares no graph."""
    module = fx.GraphModule(module, _copied(module.graph))
    with_activations(module.graph)
    module.graph.eliminate_dead_code()
    for node in list(module.graph.nodes):
        call = called(node)
        if call is not None:
            _alone(node)
            node.target, node.args = call
            node.kwargs = {}
    for node in list(module.graph.nodes):
        layer = layer_of(module, node)
        if layer is not None:
            path, made, given = layer
            module.set_submodule(path, made)
            node.op, node.target, node.args = "call_module", path, (given,)
            node.kwargs = {}
            if isinstance(made, nn.Linear):
                _of_places(node)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module


def _copied(graph: fx.Graph) -> fx.Graph:
    made = fx.Graph()
    output = made.graph_copy(graph, {}, return_output_node=True)
    assert isinstance(output, tuple)
    made.output(output[0])
    made._codegen = graph._codegen
    return made


def _alone(node: Node) -> None:
    """Its first result takes the place of a tuple of several."""
    value = node.meta.get("val")
    node.meta["val"] = value[0] if isinstance(value, tuple | list) else value
    for user in list(node.users):
        if user.target is operator.getitem and user.args[0] is node:
            user.replace_all_uses_with(node)
            user.graph.erase_node(user)


def _of_places(node: Node) -> None:
    """A linear layer on what it was laid flat for, if its result takes that shape again."""
    flat, after = node.args[0], next(iter(node.users), None)
    shaped = (aten.view.default, aten.reshape.default)
    assert isinstance(flat, Node)
    if flat.target not in shaped or after is None or after.target not in shaped:
        return
    before = flat.args[0]
    assert isinstance(before, Node)
    given, gives = before.meta["val"], after.meta["val"]
    if len(node.users) == 1 and given.shape[:-1] == gives.shape[:-1]:
        node.args = (before,)
        after.replace_all_uses_with(node)
