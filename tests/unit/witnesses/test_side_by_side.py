"""Trials in processes: the same trials, each kept at once, and no process left behind."""

from dataclasses import asdict
from multiprocessing import active_children

import pytest
import torch

from tests.unit.witnesses.test_trial import subject
from xai_exp.config import InputError
from xai_exp.witnesses import matched, side_by_side, trial
from xai_exp.witnesses.side_by_side import all_kept
from xai_exp.witnesses.tuning import Pace


def test_a_process_gives_the_same_trial_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "_FEWEST", 1)
    mine = subject(pace=Pace(steps=30, learning_rates=(0.03,)))
    asked, done = mine.asked(("solid",), [0])[:1], []
    groups = [(matched.matched(mine), ()), (mine, asked)]
    none, found = all_kept(groups, tmp_path / "two", "key", workers=2, done=done.append)
    assert none == []
    assert isinstance(found, list)
    assert [one.asked for one in found] == asked
    assert len(list((tmp_path / "two").iterdir())) == len(done) == 1
    alone = [trial.tried(mine, one) for one in asked]
    for ours, theirs in zip(found, alone, strict=True):
        assert asdict(ours.certificate) == pytest.approx(asdict(theirs.certificate), nan_ok=True)
        assert set(ours.skills) == set(theirs.skills)
    assert active_children() == []


def test_what_cannot_be_sent_is_tried_here(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "_in_processes", pytest.fail)
    mine = subject(explainers={"local": lambda *_: None}, pace=Pace(steps=1))
    groups = [(mine, mine.asked(("solid",), [0]))] * 2
    assert [len(one) for one in all_kept(groups, tmp_path, "", workers=2, done=id)] == [2, 2]
    assert side_by_side._sent([mine]) is None


def test_what_is_wrong_is_said_as_it_is_and_ends_no_other(tmp_path):
    mine = subject(network=torch.nn.Flatten())
    groups = [(mine, mine.asked(("solid",), [0])), (mine, ())]
    wrong, none = all_kept(groups, tmp_path, "", workers=1, done=id)
    assert isinstance(wrong, InputError)
    assert "without weights that can be trained" in str(wrong)
    assert none == []
