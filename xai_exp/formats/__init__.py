"""Networks from elsewhere and for elsewhere: ONNX, NNEF, MMdnn, OpenVX.

ONNX is the hub: the others are read into an ONNX graph and written from one. Nothing of theirs is
imported before it is asked for.
"""
