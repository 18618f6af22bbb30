"""Scenes that follow the user's pictures: their textures, and what a copy that knows them lends."""

from dataclasses import replace

import pytest
import torch

from tests.unit.witnesses.test_answer import FAILS, LIKE, lenders, trials
from tests.unit.witnesses.test_trial import subject
from xai_exp.witnesses.borrowed import Library, lead, skill
from xai_exp.witnesses.matched import ASKED, TASK, lent, matched, textures


def pictures(count=3):
    generator = torch.Generator().manual_seed(1)
    return 0.4 + 0.1 * torch.rand(count, 3, 20, 24, generator=generator)


def test_a_texture_has_the_spectrum_and_the_colours_and_other_pixels():
    mine = pictures()
    made = textures(mine, torch.Generator().manual_seed(0))
    spectra = [torch.fft.fft2(one).abs() for one in (mine, made)]
    torch.testing.assert_close(spectra[1], spectra[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.mean((2, 3)), mine.mean((2, 3)))
    covariances = [torch.stack([one.flatten(1).cov() for one in each]) for each in (mine, made)]
    torch.testing.assert_close(covariances[1], covariances[0], rtol=1e-2, atol=1e-5)
    alike = torch.corrcoef(torch.stack([mine.flatten(), made.flatten()]))[0, 1]
    assert alike.abs() < 0.2
    assert not made[0].allclose(textures(mine, torch.Generator().manual_seed(1))[0])


def test_a_subject_keeps_its_network_and_sees_textures():
    mine = subject()
    found = matched(mine)
    index = torch.arange(4)
    assert found.network is mine.network
    assert (len(found.data.train), len(found.data.validation)) == (30, 20)
    assert found.data.train.labels.equal(mine.data.train.labels)
    assert not found.data.test.images(index).allclose(mine.data.test.images(index))
    assert {one.look for one in ASKED} == {"discs"}
    assert "discs" not in {one.look for one in mine.asked(("stripes", "solid"), [0])}


def test_it_lends_the_mean_skill_of_certified_copies_as_one_task():
    two = [
        replace(one, weights=[1.0, 3.0], skills={"a": [0.5, values], "b": [-9.0, -9.0]})
        for one, values in zip(trials(count=2, a=0), (0.9, 0.1), strict=True)
    ]
    (one,) = lent(two, LIKE)
    assert one.skills == {
        "a": pytest.approx(((0.5 + 3 * 0.9) / 4 + (0.5 + 3 * 0.1) / 4) / 2),
        "b": -1,
    }
    assert lent(trials(FAILS, a=0.9), LIKE) == []
    packaged = lenders(a=[0.9, 0.7, 0.8], b=[0.5, 0.6, 0.1])
    whole = Library(lenders=[*packaged.lenders, one], rates={})
    assert skill(whole, LIKE, "a") == pytest.approx((2.4 + one.skills["a"]) / 4)
    alone = lead(Library(lenders=[one], rates={}), LIKE, "a", "b")
    assert alone.mean == pytest.approx(one.skills["a"] + 1)
    assert alone.side == 0
    assert one.task == TASK
