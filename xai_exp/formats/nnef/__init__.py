"""NNEF folders: `graph.nnef`, a text of operators, and a file of numbers for each variable.

Written from an ONNX graph with batch norm folded, and read into one; a folder is data that nobody
vouches for, and nothing outside of it is read.
"""
