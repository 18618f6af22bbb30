"""The same numbers on any machine within bounds, the same bits for any number of threads."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_exp import build
from xai_exp.compute import machine
from xai_exp.notebook.composing import composed

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from scripts.reliability.reference import BOUND, LARGER, RUN, apart, computed, stored


@pytest.fixture(scope="module")
def made():
    return computed(RUN, deterministic=True)


def test_the_reference_run_is_computed_again_within_its_bound(made):
    numbers, _ = stored()
    assert set(made) == set(numbers)
    found = apart(made, numbers)
    assert max(found.values()) <= BOUND, found


def test_where_the_machine_is_that_of_the_reference_run_its_bits_are_equal(made):
    numbers, where = stored()
    with machine.settled(deterministic=True):
        here = machine.fingerprint()
    if differing := sorted(key for key in where if here.get(key) != where[key]):
        pytest.skip(f"another machine: {', '.join(differing)}")
    assert all(np.array_equal(made[name], numbers[name], equal_nan=True) for name in numbers)


def test_deterministic_runs_have_the_same_bits_for_any_number_of_threads():
    few = [*LARGER, "dataset.count=120", "trainer.max_epochs=1", "explainer=gradient", "images=2"]
    threads = torch.get_num_threads()
    try:
        one, several = (_with(count, few) for count in (1, 3))
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(one[name], several[name]) for name in one)


def _with(threads, words):
    torch.set_num_threads(threads)
    found = computed(words, deterministic=True)
    assert torch.get_num_threads() == threads
    return found


def test_within_there_is_one_thread_and_afterwards_all_is_as_before():
    with machine.settled(deterministic=True):
        assert machine.fingerprint()["machine.threads"] == "1"
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with machine.settled(deterministic=False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_was_made_in_another_order_is_not_taken_for_it():
    plain = build.experiment(composed("dataset=digits", "tracking=off"))
    exact = replace(plain, settings=replace(plain.settings, deterministic=True))
    assert exact.model_key != plain.model_key
    assert exact.former_model_key is None
    name = next(iter(plain.explainers))
    assert exact.explain_key(name, "m", 4) != plain.explain_key(name, "m", 4)
