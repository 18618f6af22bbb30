"""How good a network is and where it fails: what Yellowbrick draws, for networks and many classes.

All numbers come from what the network says of the first test images; learning and validation
curves come from networks that are really trained for them. scikit-learn counts, matplotlib draws.
"""
