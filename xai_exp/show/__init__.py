"""What a person sees in the terminal: the table of a run, and one bar over all runs of a study.

Conventions: nothing here computes a result; every line says what it is, what it got and what is
next. `progress` imports nothing heavy, since the command line needs it before anything else.
"""
