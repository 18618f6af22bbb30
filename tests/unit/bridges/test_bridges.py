"""Each bridge against our method of the same name; where both differ, by how much and why."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.bridges import (
    captum,
    dianna,
    grad_cam,
    library,
    lime,
    quantus,
    shap,
    xplique,
    zennit,
)
from xai_exp.config import InputError
from xai_exp.explainers import activation, deeplift, gradients, lrp
from xai_exp.explainers.modified import DeconvNet, GuidedBackprop
from xai_exp.explainers.perturbation import LIME, RISE, KernelSHAP, Occlusion, PartitionSHAP
from xai_exp.metrics.complexity import Sparseness
from xai_exp.removal import Border, Constant

pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries warn of is theirs
BLACK = Constant(value=0.0)
SQUARES = {"cut": "grid", "segments": 4, "shared": False}


@pytest.fixture
def case(make_case):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(180, 3),
        )  # fmt: skip
    found = make_case(model=network.double().eval())
    return replace(found, images=found.images.double())


@pytest.fixture
def single(case):
    """The same in single precision, which some libraries take only."""
    return replace(case, model=case.model.float(), images=case.images.float())


def apart(case, bridge, mine, count=6):
    """The largest difference as a share of the largest value."""
    images, targets = case.images[:count], case.targets[:count]
    theirs, ours = (one(case.model, images, targets) for one in (bridge, mine))
    return float((theirs - ours).abs().max() / ours.abs().max())


def noise(count):
    return torch.rand(count, 2, 12, 12, generator=torch.Generator().manual_seed(1)).double()


def of_captum(method, **given):
    return captum.Captum(method=method, **given)


SAME = {
    "Saliency": (("abs=False",), gradients.Gradient()),
    "InputXGradient": ((), gradients.InputXGradient()),
    "IntegratedGradients": (
        ("n_steps=16", "method=gausslegendre"), gradients.IntegratedGradients(steps=16),
    ),
    "DeepLift": ((), deeplift.DeepLIFT()),
    "Deconvolution": ((), DeconvNet()),
    "GuidedBackprop": ((), GuidedBackprop()),
    "Occlusion": ((), Occlusion(imputer=BLACK, size=4, stride=4, shared=False)),
    "LayerGradCam": (("relu_attributions=True", "attr_dim_summation=True"), activation.GradCAM()),
}  # fmt: skip


@pytest.mark.parametrize("method", SAME)
def test_captums_method_is_ours_of_the_same_name(case, method):
    arguments, mine = SAME[method]
    assert apart(case, of_captum(method, arguments=arguments, window=4), mine) < 1e-5


def test_captums_exact_shapley_values_of_squares_are_ours(case):
    mine = KernelSHAP(imputer=BLACK, **SQUARES)
    assert apart(case, of_captum("ShapleyValues", segments=4), mine) < 1e-5


def test_captums_deep_lift_passes_the_plain_gradient_through_max_pooling(case):
    """Which is why it does not sum to f(x) - f(x') there: a fault that stays visible."""
    case.model[4] = nn.MaxPool2d(2)
    assert apart(case, of_captum("DeepLift"), deeplift.DeepLIFT(pooling="gradient")) < 1e-5
    assert apart(case, of_captum("DeepLift"), deeplift.DeepLIFT()) > 1e-2


class Functional(nn.Module):
    """The same network, its ReLUs called as functions."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, images):
        for layer in self.layers:
            images = functional.relu(images) if isinstance(layer, nn.ReLU) else layer(images)
        return images


def test_captum_does_not_see_functional_relus_and_the_bridge_does_not_mend_it(case):
    """Guided backpropagation becomes the plain gradient without an error."""
    written = replace(case, model=Functional(list(case.model)).eval())
    assert apart(written, of_captum("GuidedBackprop"), GuidedBackprop()) > 1e-2
    assert apart(written, of_captum("GuidedBackprop"), gradients.Gradient()) < 1e-5


def test_captums_references_are_the_first_that_it_is_bound_to(case):
    references = noise(5)
    theirs = captum.CaptumReferences(method="DeepLiftShap", references=3)
    ours = deeplift.DeepLIFTSHAP(references=3)
    bound = [one.fit(case.model, references[:3]) for one in (theirs, ours)]
    assert apart(case, *bound) < 1e-5
    with pytest.raises(InputError, match=r"explainer=bridge/captum_references"):
        of_captum("GradientShap")(case.model, case.images, case.targets)


COMPOSITES = {
    "EpsilonPlus": lrp.LRP(rule="epsilon_plus"),
    "EpsilonPlusFlat": lrp.LRP(rule="epsilon_plus_flat"),
    "EpsilonAlpha2Beta1": lrp.LRP(rule="epsilon_alpha2_beta1"),
    "EpsilonGammaBox": lrp.LRP(rule="epsilon_gamma_box"),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_zennits_composite_is_our_rule_of_the_same_name(case, name):
    """Its stabilizer is 1e-6 by default, ours is next to nothing."""
    exact = zennit.Zennit(composite=name, arguments=("stabilizer=1e-12",))
    assert apart(case, exact, COMPOSITES[name]) < 1e-5


def test_zennit_without_a_composite_is_the_gradient(case):
    plain = zennit.Zennit(composite=None, start="one")
    assert apart(case, plain, gradients.Gradient()) < 1e-6
    with pytest.raises(InputError, match=r"unknown canonizer of zennit: got 'ResNet'"):
        zennit.Zennit(canonizer="ResNet")(case.model, case.images, case.targets)


def here(module):
    """A mark that skips where a library is not installed."""
    missing = not module.LIBRARY.installed
    return pytest.mark.skipif(missing, reason=f"{module.LIBRARY.package} is not installed")


@here(shap)
@pytest.mark.parametrize("method", ["KernelExplainer", "ExactExplainer"])
def test_shaps_values_of_four_squares_are_ours(case, method):
    arguments = ("l1_reg=0",) if method == "KernelExplainer" else ()
    theirs = shap.Shap(method=method, segments=4, imputer=Border(), arguments=arguments)
    assert apart(case, theirs, KernelSHAP(imputer=Border(), **SQUARES)) < 1e-5


@here(shap)
def test_shaps_partition_is_ours_one_branch_at_a_time(case):
    theirs = shap.Shap(method="PartitionExplainer", arguments=("max_evals=100",))
    mine = PartitionSHAP(imputer=BLACK, evaluations=100, together=1, smallest=1)
    assert apart(case, theirs, mine) < 1e-5


@here(shap)
def test_shaps_deep_explainer_is_deep_lift_of_all_references(case):
    references = noise(3)
    bound = shap.ShapReferences(references=3).fit(case.model, references)
    assert (
        apart(case, bound, deeplift.DeepLIFTSHAP(references=3).fit(case.model, references)) < 1e-5
    )


@here(shap)
def test_shaps_deep_explainer_sees_its_fault_on_functional_relus_only_where_outputs_are_large(case):
    """Its check allows an absolute error of 0.01: below it a wrong sum passes without a word."""
    bound = shap.ShapReferences(references=3).fit(case.model, noise(3))
    mine = deeplift.DeepLIFTSHAP(references=3).fit(case.model, noise(3))
    written = replace(case, model=Functional(list(case.model)).eval())
    assert apart(written, bound, mine) > 1e-2
    case.model[-1].weight.data *= 100
    with pytest.raises(AssertionError, match="do not sum up"):
        bound(written.model, case.images, case.targets)


@here(grad_cam)
@pytest.mark.parametrize(
    ("method", "mine"), [("GradCAM", activation.GradCAM()), ("LayerCAM", activation.LayerCAM())]
)
def test_pytorch_grad_cam_is_ours_stretched(case, method, mine):
    def stretched(*given):
        maps = mine(*given)
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        return (maps - low) / (high - low).clamp_min(1e-7)

    assert apart(case, grad_cam.PytorchGradCAM(method=method), stretched) < 1e-5


@here(lime)
def test_lime_and_ours_tell_the_same_order_of_squares(case):
    """Both draw their sets of squares, so coefficients agree as well as the draws allow."""
    theirs = lime.LimeImage(segments=4, samples=500, arguments=("hide_color=0",))
    assert apart(case, theirs, LIME(imputer=BLACK, samples=500, **SQUARES)) < 0.1


@here(dianna)
def test_diannas_rise_is_ours_as_well_as_the_draws_allow(single):
    theirs = dianna.Dianna(arguments=("n_masks=4000", "feature_res=4", "p_keep=0.5"))
    mine = RISE(imputer=BLACK, masks=4000, cells=4, keep=0.5, centred=False)
    assert apart(single, theirs, mine, count=1) < 0.1


@here(dianna)
def test_diannas_kernel_shap_gives_all_of_its_own_segments_a_value(single):
    """It cuts superpixels of its own, so that heatmaps cannot be equal: only that it answers."""
    theirs = dianna.Dianna(method="KernelSHAP", arguments=("n_segments=4", "nsamples=50"))
    found = theirs(single.model, single.images[:1], single.targets[:1])
    assert found.shape == single.images[:1, 0].shape
    assert bool(found.isfinite().all())
    assert bool(found.any())


XPLIQUE = {
    "GradientInput": (("reducer=sum",), gradients.InputXGradient()),
    "IntegratedGradients": (
        ("steps=32", "reducer=sum"), gradients.IntegratedGradients(steps=32, method="trapezoid"),
    ),
    "Occlusion": (
        ("patch_size=4", "patch_stride=4"),
        Occlusion(imputer=BLACK, size=4, stride=4, shared=False),
    ),
}  # fmt: skip


@here(xplique)
@pytest.mark.parametrize("method", XPLIQUE)
def test_xpliques_method_is_ours_of_the_same_name(single, method):
    arguments, mine = XPLIQUE[method]
    assert apart(single, xplique.Xplique(method=method, arguments=arguments), mine) < 1e-5


@here(xplique)
def test_xpliques_rise_is_ours_as_well_as_the_draws_allow(single):
    theirs = xplique.Xplique(method="Rise", arguments=("nb_samples=4000", "grid_size=4"))
    mine = RISE(imputer=BLACK, masks=4000, cells=4, keep=0.5, centred=False)
    assert apart(single, theirs, mine, count=1) < 0.1


@here(xplique)
def test_xplique_cannot_change_torchs_layers_and_the_bridge_does_not_hide_it(single):
    with pytest.raises(ValueError, match="clone_function"):
        xplique.Xplique(method="GuidedBackprop")(single.model, single.images, single.targets)


@here(quantus)
def test_quantus_sparseness_is_ours(single):
    theirs = quantus.Quantus()(single)
    assert theirs == pytest.approx(Sparseness()(single), abs=1e-4)
    assert quantus.Quantus().higher_is_better
    with pytest.raises(InputError, match="one an image"):
        quantus.Quantus(method="PixelFlipping", arguments=("features_in_step=24",))(single)


ABSENT = library.Library(module="no_such", package="no-such", extra="none", tested="1")


def test_a_library_that_is_not_installed_is_answered_with_what_installs_it():
    with pytest.raises(InputError, match=r"no-such: it is not installed; allowed: pip install"):
        ABSENT.part()


def test_another_version_is_said_once_with_both(caplog):
    older = replace(captum.LIBRARY, tested="0.1")
    library._compared.discard("captum")
    with caplog.at_level(logging.WARNING):
        older.part()
        older.part("attr")
    library._compared.discard("captum")
    here = f"captum {library.metadata.version('captum')} is installed; its bridge was tested"
    assert [one.getMessage() for one in caplog.records] == [f"{here} with 0.1"]


def test_what_the_library_does_not_have_is_refused_by_its_name(case):
    with pytest.raises(InputError, match=r"got 'DeepLifts' \(did you mean DeepLift\?\)"):
        of_captum("DeepLifts")(case.model, case.images, case.targets)
    with pytest.raises(InputError, match="got NeuronGradient; allowed: one that explains a class"):
        of_captum("NeuronGradient")(case.model, case.images, case.targets)
    with pytest.raises(InputError, match="unknown layer: got 'last'"):
        of_captum("LayerGradCam", layer="last")(case.model, case.images, case.targets)
    with pytest.raises(InputError, match=r"arguments: got 'n_steps'; allowed: NAME=VALUE"):
        of_captum("IntegratedGradients", arguments=("n_steps",))(
            case.model, case.images, case.targets
        )


def test_a_bridge_leaves_the_network_and_the_sources_of_chance_alone(case):
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    for one in (of_captum("KernelShap", segments=4, arguments=("n_samples=20",)), zennit.Zennit()):
        maps = one(case.model, case.images, case.targets)
        assert torch.equal(one(case.model, case.images, case.targets), maps)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())
    assert not any(module._forward_hooks for module in case.model.modules())
