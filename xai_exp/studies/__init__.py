"""What a study does once its runs are finished: it judges its claims and publishes a page.

Conventions: `callbacks` holds what Hydra calls; a file named `X_report` asks the finished runs and
writes what `X`, pure functions on arrays and tables, makes of them. Nothing here trains a network
that the pipeline could have trained.
"""
