from given import image, network

import xai_exp as xe

heatmap = xe.explain(network, image[None], "lrp")["lrp"][0]
