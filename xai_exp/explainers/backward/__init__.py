"""The engine of modified backpropagation: torch's functions go backward by rules of their own.

Conventions: `engine` runs the passes, `rules` says what a rule is, `functions` knows torch's
functions by kind, `layer` is one linear call as a rule sees it; no family of rules lives here.
"""
