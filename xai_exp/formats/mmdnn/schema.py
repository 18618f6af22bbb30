"""The messages of MMdnn's graph.proto, so far as networks need them."""

from functools import cache
from typing import Any

from xai_exp.formats.needed import library

_KINDS = {"string": 9, "int32": 5, "int64": 3, "bytes": 12, "float": 2, "bool": 8}
_MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "Dim": [("size", 1, "int64", False), ("name", 2, "string", False)],
    "TensorShape": [("dim", 2, "Dim", True), ("unknown_rank", 3, "bool", False)],
    "ListValue": [
        ("s", 2, "bytes", True), ("i", 3, "int64", True), ("f", 4, "float", True),
        ("b", 5, "bool", True), ("shape", 7, "TensorShape", True),
    ],
    "AttrValue": [
        ("list", 1, "ListValue", False), ("s", 2, "bytes", False), ("i", 3, "int64", False),
        ("f", 4, "float", False), ("b", 5, "bool", False), ("type", 6, "int32", False),
        ("shape", 7, "TensorShape", False),
    ],
    "AttrEntry": [("key", 1, "string", False), ("value", 2, "AttrValue", False)],
    "NodeDef": [
        ("name", 1, "string", False), ("op", 2, "string", False), ("input", 3, "string", True),
        ("attr", 4, "AttrEntry", True),
    ],
    "GraphDef": [("node", 1, "NodeDef", True), ("version", 2, "int32", False)],
}  # fmt: skip


@cache
def graph_message() -> Any:  # noqa: ANN401
    """The class of a whole graph; an attribute is an entry with a key and a value."""
    descriptor_pb2 = library("google.protobuf.descriptor_pb2")
    file = descriptor_pb2.FileDescriptorProto(
        name="xai_exp_mmdnn.proto", package="xai_exp_mmdnn", syntax="proto3"
    )
    for message, members in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, number, kind, many in members:
            field = made.field.add(name=name, number=number, label=3 if many else 1)
            field.type = _KINDS.get(kind, 11)
            if field.type == 11:
                field.type_name = f".xai_exp_mmdnn.{kind}"
        if message == "AttrValue":
            made.oneof_decl.add(name="value")
            for field in made.field:
                field.oneof_index = 0
    pool = library("google.protobuf.descriptor_pool").DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("xai_exp_mmdnn.GraphDef")
    return library("google.protobuf.message_factory").GetMessageClass(found)
