"""Saliency maps: equal to their formulas, on a planted cue, and made by the command line."""

import keras
import numpy as np
import pytest
from scipy.special import logsumexp

from alloyk.errors import AlloykError
from alloyk.explanation import describe_sanity
from alloyk.explanation.gradcam import GradCAM, cells, enlarged, map_layer, through_layers
from alloyk.explanation.model_parts import log_odds
from alloyk.explanation.sanity import sanity_check, shuffled_weights
from alloyk.explanation.shapley import GradientSHAP, PartitionSHAP, blurred
from alloyk.models import build_model, feature_layer
from alloyk.simulator.dataset.simulation import simulate_arrays

CONVOLUTIONAL = ("cnn", "resnet18", "resnet34", "resnet50", "vgg16", "vgg19", "efficientnetb0")


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(size=(3, 32, 32)).astype(np.float32)


def test_log_odds_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(0, 5, (20, 5))
    p = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    found = np.asarray(log_odds(logits.astype(np.float32)))
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-4, atol=1e-4)


def test_gradcam_of_a_linear_head_is_its_formula(noise):
    """Without a hidden layer the gradient is known: the class activation map of Zhou (2016)."""
    network = build_model("cnn", (32, 32, 1), 3, hidden_units=0, seed=1)
    both = keras.Model(network.input, [feature_layer(network).output, network.output])
    features, logits = both(noise[..., None])
    features, logits = (np.asarray(values, np.float64) for values in (features, logits))
    kernel = np.asarray(network.get_layer("logits").kernel, np.float64)
    classes = np.array([2, 0, 1])
    expected = []
    for image, row, number in zip(features, logits, classes, strict=True):
        others = np.delete(np.arange(3), number)
        share = np.exp(row[others] - logsumexp(row[others]))
        of_score = (kernel[:, number] - kernel[:, others] @ share) / image[..., 0].size
        expected.append(np.maximum(image @ of_score, 0))
    found = GradCAM(network, "last")(noise, classes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.max(expected) > 0.01


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(
            arch, marks=pytest.mark.slow if arch in ("resnet34", "resnet50", "vgg19") else []
        )
        for arch in CONVOLUTIONAL
    ],
)
def test_every_convolutional_architecture_has_a_map(arch, noise):
    network = build_model(arch, (32, 32, 1), 2, seed=0)
    assert map_layer(network, "last") is feature_layer(network)
    layer = map_layer(network)
    assert min(cells(layer)) >= 7
    maps = GradCAM(network)(noise, np.array([0, 1, 1]))
    assert maps.shape == (3, *cells(layer))
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    # Two classes, opposite log-odds: what one map leaves out, the other shows.
    assert (maps + GradCAM(network)(noise, np.array([1, 0, 0]))).any(axis=(1, 2)).all()


def test_the_image_can_be_of_any_shape():
    network = build_model("resnet18", (40, 96, 1), 2, seed=0)
    images = np.random.default_rng(0).uniform(size=(2, 40, 96))
    maps = GradCAM(network, "layer1.1.activation2")(images, np.array([0, 1]))
    assert maps.shape == (2, 10, 24)
    assert enlarged(maps, (40, 96)).shape == (2, 40, 96)


def test_layers_inside_a_residual_block_are_bypassed():
    names = [
        layer.name for layer in through_layers(build_model("resnet18", (64, 64, 1), 2).layers[1])
    ]
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert [name for name in names if name.endswith(".activation2")] == [
        f"{block}.activation2" for block in blocks
    ]
    assert not any("conv2" in name or "activation1" in name for name in names if "layer" in name)
    assert not any("pad" in name for name in names)


def test_a_network_without_a_feature_map_and_an_unknown_layer_are_errors():
    with pytest.raises(AlloykError, match="no feature map; use --method shap"):
        GradCAM(build_model("fnn", (16, 16, 1), 2))
    with pytest.raises(AlloykError, match=r"must be .* stage4_activation \(4×4\), .*, got 'conv9'"):
        GradCAM(build_model("cnn", (32, 32, 1), 2), "conv9")


def test_enlarged_maps_are_linear_between_cell_centres():
    maps = np.array([[[0.0, 4.0], [8.0, 12.0]]])
    expected = [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
    np.testing.assert_allclose(enlarged(maps, (4, 4))[0], expected, rtol=1e-6)


def linear_network(size=8, seed=0):
    """Flatten and two logits: log-odds are a weighted sum of pixels and a constant."""
    network = keras.Sequential(
        [keras.Input((size, size, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(size * size, 2))
    network.layers[-1].set_weights([kernel, rng.normal(size=2)])
    return network, (kernel[:, 1] - kernel[:, 0]).reshape(size, size)


def test_gradient_shap_of_a_linear_network_is_its_formula():
    network, weights = linear_network()
    images = np.random.default_rng(1).uniform(size=(3, 8, 8)).astype(np.float32)
    explain = GradientSHAP(network, images[2:], samples=10)
    expected = np.array([1, -1])[:, None, None] * weights * (images[:2] - images[2])
    found = explain(images[:2], np.array([1, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # They sum to what the image's log-odds are above the background's.
    logits = np.asarray(network(images[..., None]), np.float64)
    above = (logits[:2] - logits[2]) @ [-1, 1] * [1, -1]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), above, rtol=1e-4)
    reference = explain.reference(images[:2])[[0, 1], [1, 0]]
    np.testing.assert_allclose(reference, (logits[2] @ [-1, 1]) * np.array([1, -1]), rtol=1e-4)


def test_partition_shap_of_a_linear_network_is_its_formula():
    network, weights = linear_network()
    image = np.random.default_rng(1).uniform(size=(8, 8)).astype(np.float32)
    found = PartitionSHAP(network, samples=5000)(image[None], np.array([1]))[0]
    np.testing.assert_allclose(found, weights * (image - blurred(image)), rtol=1e-3, atol=1e-4)


def cue_images(count, rng, side=32, cue=8):
    """Noise; every second image has a bright square somewhere. Images, labels, its corners."""
    images = rng.normal(0.5, 0.15, (count, side, side)).astype(np.float32)
    corners = rng.integers(0, side - cue, (count, 2))
    for image, (row, column) in zip(images[1::2], corners[1::2], strict=True):
        image[row : row + cue, column : column + cue] += 0.3
    return images, np.arange(count) % 2, corners


def trained(images, labels, epochs, **size):
    """A small network that tells two classes of images apart."""
    keras.utils.set_random_seed(0)
    network = build_model(
        "cnn", (*images.shape[1:], 1), 2, hidden_units=32, dropout=0.0, seed=0, **size
    )
    network.compile(
        keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )  # fmt: skip
    network.fit(images[..., None], labels, epochs=epochs, batch_size=32, verbose=0)
    return network


@pytest.fixture(scope="module")
def cue_network():
    images, labels, _ = cue_images(400, np.random.default_rng(0))
    return trained(images, labels, epochs=4, width=16)


def share_on_cue(maps, corners, margin, cue=8):
    """Share of each map's absolute values on the square and a margin around it."""
    shares = []
    for values, (row, column) in zip(np.abs(maps), corners, strict=True):
        rows = slice(max(0, row - margin), row + cue + margin)
        columns = slice(max(0, column - margin), column + cue + margin)
        shares.append(values[rows, columns].sum() / values.sum())
    return np.array(shares)


def test_a_planted_cue_is_found_where_it_was_planted(cue_network):
    images, labels, corners = cue_images(40, np.random.default_rng(1))
    accuracy = cue_network.evaluate(images[..., None], labels, verbose=0)[1]
    assert accuracy == 1
    images, corners = images[1::2], corners[1::2]
    classes = np.ones(len(images), int)
    cam = enlarged(GradCAM(cue_network)(images, classes), (32, 32))
    # A margin of half a cell; evenly spread, 14 % of the weight would lie there.
    assert share_on_cue(cam, corners, margin=2).mean() > 0.4
    background = cue_images(50, np.random.default_rng(2))[0]
    values = GradientSHAP(cue_network, background, samples=50)(images[:4], classes[:4])
    # Evenly spread, 6 %.
    assert share_on_cue(values, corners[:4], margin=0).mean() > 0.2


SIDE = 56  # the smallest whose last maps have 7×7 cells
SHOWN = slice(0, 60)


@pytest.fixture(scope="module")
def simulated():
    """Images from -2 to 2, the alloy of each (0 or 1), and the row of the plate's edge.

    Of one thickness, so that a small training is enough.
    """
    counts, table = simulate_arrays(
        "easy", images=360, image_size=SIDE, overrides={"plate.thicknesses_mm": (5.0,)}
    )
    order = np.random.default_rng(0).permutation(len(counts))
    low = counts.min(axis=(1, 2), keepdims=True)
    images = 4 * ((counts - low) / np.ptp(counts, axis=(1, 2), keepdims=True)) - 2
    edge_row = (table["plate_edge_mm"].to_numpy() / 60 + 0.5) * SIDE
    alloy = (table["label"] == "2017").to_numpy().astype(int)
    return images.astype(np.float32)[order], alloy[order], edge_row[order]


def weight_by_place(network, images, classes):
    """Grad-CAM `(n, SIDE, SIDE)`, each map of sum 1."""
    maps = enlarged(GradCAM(network)(images, classes), (SIDE, SIDE))
    return maps / maps.sum(axis=(1, 2), keepdims=True)


@pytest.mark.slow
def test_alloys_are_told_apart_by_the_plate_and_its_edge(simulated):
    images, alloy, edge_row = simulated
    network = trained(images[SHOWN.stop :], alloy[SHOWN.stop :], epochs=5)
    images, alloy, edge_row = (values[SHOWN] for values in simulated)
    assert network.evaluate(images[..., None], alloy, verbose=0)[1] > 0.95
    weight = weight_by_place(network, images, alloy)
    half_a_cell = SIDE / 14
    on_plate = np.arange(SIDE)[None, :] > edge_row[:, None] - half_a_cell
    quarter = SIDE // 4
    # The plate covers the lower half: no evidence in the upper corners.
    corners = weight[:, :quarter, :quarter].sum() + weight[:, :quarter, -quarter:].sum()
    even = on_plate.mean()
    assert even < 0.6
    assert (weight.sum(axis=2) * on_plate).sum() / len(weight) > even + 0.05
    assert corners / len(weight) < 0.5 * (1 / 8)


@pytest.mark.slow
def test_a_cue_planted_off_the_plate_is_found_there(simulated):
    """The same plates, with a bright mark in a corner as the only difference between classes."""
    images, classes = simulated[0].copy(), np.arange(len(simulated[0])) % 2
    images[1::2, 3:12, 3:12] += 1.0
    network = trained(images[SHOWN.stop :], classes[SHOWN.stop :], epochs=3)
    images, classes = images[SHOWN], classes[SHOWN]
    assert network.evaluate(images[..., None], classes, verbose=0)[1] > 0.95
    weight = weight_by_place(network, images[1::2], classes[1::2])
    quarter = SIDE // 4
    in_corner = [weight[:, :quarter, :quarter], weight[:, :quarter, -quarter:]]
    marked, other = (part.sum() / len(weight) for part in in_corner)
    assert marked > 3 * (1 / 16)
    assert other < 1 / 16


def test_trained_weights_pass_the_sanity_check(cue_network):
    images = cue_images(12, np.random.default_rng(3))[0][1::2]
    before = [weights.copy() for weights in cue_network.get_weights()]
    cam, classes = GradCAM(cue_network), np.ones(len(images), int)
    found = sanity_check(cue_network, lambda: cam(images, classes), cam(images, classes))
    assert found["passed"]
    assert found["all"] < 0.5
    assert "passed" in describe_sanity(found)
    for old, new in zip(before, cue_network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_edge_detector_fails_the_sanity_check(cue_network):
    """A picture of the image alone, as convincing as it may look."""
    images = cue_images(4, np.random.default_rng(4))[0]
    edges = np.abs(np.gradient(images, axis=2))
    found = sanity_check(cue_network, lambda: edges, edges)
    assert found["head"] == found["all"] == 1
    assert not found["passed"]
    assert "FAILED" in describe_sanity(found)


def test_empty_maps_neither_pass_nor_fail_the_sanity_check(cue_network):
    empty = np.zeros((2, 8, 8))
    found = sanity_check(cue_network, lambda: empty + np.eye(8), empty)
    assert found["passed"] is None
    assert "Sanity check not possible: the maps are empty" in describe_sanity(found)


def test_shuffling_the_head_leaves_the_backbone_alone():
    network = build_model("cnn", (32, 32, 1), 2, seed=0)
    first = network.layers[1].get_weights()[0]
    kernel = network.get_layer("hidden").get_weights()[0]
    with shuffled_weights(network, np.random.default_rng(0), head_only=True):
        np.testing.assert_array_equal(network.layers[1].get_weights()[0], first)
        shuffled = network.get_layer("hidden").get_weights()[0]
        assert (shuffled != kernel).mean() > 0.9
        np.testing.assert_array_equal(np.sort(shuffled.ravel()), np.sort(kernel.ravel()))
    np.testing.assert_array_equal(network.get_layer("hidden").get_weights()[0], kernel)
