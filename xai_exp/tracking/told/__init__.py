"""What a run in MLflow tells a person beside its numbers: where it comes from, and what it says.

`provenance` holds commit, command, user and versions, `notes` the description with its table,
picture and links, `inputs` the data as MLflow lists them.
"""
