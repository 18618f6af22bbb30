"""No garbage is looked for while modules are loaded, and all is as it was afterwards."""

import gc

from xai_exp.compute.loading import settle, undisturbed


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


def test_what_is_loaded_is_set_apart_once():
    settle.cache_clear()
    try:
        settle()
        before = gc.get_freeze_count()
        kept = [[one] for one in range(1000)]
        settle()
        assert gc.get_freeze_count() == before > len(kept)
    finally:
        gc.unfreeze()
