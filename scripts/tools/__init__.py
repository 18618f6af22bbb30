"""The adoption study of other tools: one environment each, the same work, one file of results."""
