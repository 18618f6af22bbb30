"""MMdnn's intermediate representation: NAME.pb, a graph of layers, and NAME.npy, their numbers.

Channels come last in it. Written from an ONNX graph and read into one, both without MMdnn itself;
weights are a pickle of arrays, of which nothing but arrays is made.
"""
