"""ONNX's own cases of the operators that are done wrong most easily: none is wrong without a word.

All of its cases are run by `make formats`.
"""

import warnings
from collections import Counter
from importlib import import_module

import pytest

from xai_exp.formats.onnx.suite import judged

pytest.importorskip("onnx")
FEW = (
    "resize averagepool maxpool convtranspose pad gemm batch_normalization reducemean upsample "
    "scatternd"
)
RIGHT = 86  # of them; fewer means that something was lost


@pytest.fixture(scope="module")
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = import_module("onnx.backend.test.case.node")
        for name in FEW.split():
            import_module(f"onnx.backend.test.case.node.{name}")
        return list(node._NodeTestCases)


def test_no_operator_is_wrong_without_a_word(cases):
    found = {case.name: judged(case) for case in cases}
    assert not {name: one.why for name, one in found.items() if one.verdict == "wrong"}
    many = Counter(one.verdict for one in found.values())
    assert many["right"] >= RIGHT, many
