"""Looking at what was explained: one page of all heatmaps that tracking holds, or of one study.

`stored` reads finished runs, `page` makes one self-contained file of them, which can be sent to a
colleague, and `serving` shows it on this machine only.
"""
