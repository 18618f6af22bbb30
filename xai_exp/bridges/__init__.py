"""Other libraries as explainers and metrics: one small file each, imported when it is asked for.

A bridge hands a library the same network, images and targets that ours get, and hands back what it
says, summed over channels. It reports and never repairs: what the library refuses, breaks on or
gets wrong stays visible. docs/tools.md says what was found.
"""
