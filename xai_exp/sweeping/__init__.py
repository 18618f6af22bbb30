"""Sweeps by Optuna: a study is a plan, a space and a queue; jobs run through Hydra's launchers.

Conventions: Hydra calls this room through its plugin, so configurations come in here; a trial is
closed by the value that its job noted in the storage, whichever process ran it; a sweep that is
started again goes on where it stopped. Optuna is imported by sweeps alone: every job asks
`objectives`.
"""
