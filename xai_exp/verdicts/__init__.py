"""From scores to answers: claims, the audit of metrics, and verdicts with intervals.

Conventions: tables in, dataclasses out; no network, no heatmap and no run is known here. A
difference is always oriented so that positive means that the claim holds.
"""
