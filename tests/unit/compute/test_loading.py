"""No garbage is looked for while modules are loaded, and all is as it was afterwards."""

import gc

from xai_exp.compute.loading import undisturbed


def test_garbage_is_looked_for_again_afterwards():
    assert gc.isenabled()
    with undisturbed():
        assert not gc.isenabled()
        with undisturbed():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_looked_for_again_after_an_error():
    loading = undisturbed()
    loading.__enter__()
    assert not loading.__exit__(ImportError, ImportError(), None)
    assert gc.isenabled()


def test_what_is_there_is_set_apart_only_where_that_is_asked_for():
    before = gc.get_freeze_count()
    with undisturbed():
        pass
    assert gc.get_freeze_count() == before
    try:
        with undisturbed(settle=True):
            pass
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
