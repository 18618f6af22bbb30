"""Land seen from above: planned, informal and unbuilt patches, drawn from a few numbers each.

`kinds` is the table of what each class looks like, `placing` where roofs come to lie, `ground` what
lies around them, `scene` how all of it is drawn with and without parts and cues, and `settlements`
the dataset: splits, cities, confounds.
"""
