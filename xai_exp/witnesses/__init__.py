"""Which heatmap may I trust on my network? Witnesses for networks whose exact truth nobody knows.

Exact truth exists for rendered scenes only. On someone's own pictures and network there are

- planted truth (`trial`): known evidence is pasted into the pictures (`looks`, `planting`), and a
  copy of the network is trained on from its weights until it provably uses it (`tuning`). What the
  plants are worth to that copy is then known exactly, and explainers are graded by it;
- borrowed truth (`borrowed`): the exact skills of the explainers on networks of rendered scenes,
  those most like the user's counting most, and on scenes that follow the user's pictures
  (`matched`).

Neither sees what the network does with the user's own objects. `verdict` puts them together, pair
by pair of explainers, and says how often such verdicts were opposite to exact truth where that is
known (`scripts/witnesses_proof.py`).
"""
