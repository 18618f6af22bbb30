import shap
from given import image, network, references, target

explainer = shap.GradientExplainer(network, references)
heatmap = explainer.shap_values(image[None])[0, ..., target].sum(0)
