"""ONNX files as torch networks, whose every function is seen by every explainer, or as black boxes.

Read as data that nobody vouches for, cleaned up, compared with onnxruntime, refused in one line.
"""
