from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from alloyk.errors import AlloykError
from alloyk.models import ARCHITECTURES, build_model, feature_layer, set_backbone_trainable
from alloyk.models.applications import APPLICATIONS
from alloyk.models.classifier import _imagenet_input
from alloyk.models.resnet import basic_block, build_resnet
from alloyk.models.seeds import SeedStream

BUILDERS = ["fnn", "cnn", "resnet18", "resnet50", "vgg16", "efficientnetb0"]  # One of each kind.
SLOW = pytest.mark.slow
SHAPE = (32, 48)  # Not square: a swapped height and width would show.


def image(channels, batch=2):
    return np.random.default_rng(0).normal(size=(batch, *SHAPE, channels)).astype("float32")


def settled_model(name, image_shape, num_classes, **options):
    """Build with batch norm at the statistics of noise, or signals fade on their way through."""
    if "batch_norm_momentum" in ARCHITECTURES[name].options:
        options["batch_norm_momentum"] = 0.0
    model = build_model(name, image_shape, num_classes, seed=0, **options)
    model(np.random.default_rng(1).random((16, *image_shape)), training=True)
    return model


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in BUILDERS else SLOW) for name in ARCHITECTURES],
)
def gray_model(request):
    return build_model(request.param, (*SHAPE, 1), 5, seed=3)


def test_gray_image_gives_float32_logits(gray_model):
    logits = gray_model(image(1))
    assert logits.shape == (2, 5)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    # An image that never reaches the logits would give equal rows.
    assert not np.allclose(*logits, rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_colour_image_is_taken_too(name):
    model = build_model(name, (*SHAPE, 3), 2, seed=0)
    assert model(image(3)).shape == (2, 2)


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("name", ["cnn", "resnet18", "efficientnetb0"])
def test_any_number_of_channels_is_taken(name, channels):
    model = build_model(name, (32, 32, channels), 3, seed=0)
    image = np.random.default_rng(0).normal(size=(1, 32, 32, channels)).astype(np.float32)
    other = image.copy()
    other[..., -1] += 1  # every channel counts
    found, changed = np.asarray(model(image)), np.asarray(model(other))
    assert np.abs(found - changed).max() > 0.01 * np.abs(found).max()


def test_published_weights_take_one_or_three_channels():
    with pytest.raises(
        AlloykError, match="published weights take images of 1 or 3 channels, got 2"
    ):
        build_model("resnet18", (32, 32, 2), 3, imagenet_input=True)


def test_gradient_reaches_every_trainable_weight(gray_model):
    with tf.GradientTape() as tape:
        loss = keras.ops.sum(gray_model(image(1), training=False) ** 2)
    gradients = tape.gradient(loss, [v.value for v in gray_model.trainable_weights])
    dead = [
        variable.path
        for variable, gradient in zip(gray_model.trainable_weights, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert dead == []


def test_saved_and_loaded_model_answers_the_same(gray_model, tmp_path):
    gray_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image(1)), gray_model(image(1)))


@pytest.mark.parametrize(
    "gray_model", ["fnn", "cnn", "resnet18", "vgg16", "efficientnetb0"], indirect=True
)
def test_same_seed_gives_the_same_weights_and_drops(gray_model):
    keras.utils.set_random_seed(99)  # Neither the global state nor earlier models may matter.
    again = build_model(gray_model.name, (*SHAPE, 1), 5, seed=3)
    for first, second in zip(gray_model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first, second, err_msg=first.path)
    first, second = (model(image(1, batch=8), training=True) for model in (gray_model, again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("gray_model", ["cnn", "efficientnetb0"], indirect=True)
def test_other_seed_gives_other_kernels(gray_model):
    other = build_model(gray_model.name, (*SHAPE, 1), 5, seed=4)
    for first, second in zip(gray_model.trainable_weights, other.trainable_weights, strict=True):
        if first.name == "kernel":
            assert not np.array_equal(first, second), first.path


@pytest.mark.parametrize("gray_model", ["vgg16"], indirect=True)
def test_no_two_layers_share_a_seed(gray_model):
    weights = gray_model.trainable_weights
    convolutions = [w.numpy() for w in weights if w.shape == (3, 3, 512, 512)]
    assert len(convolutions) == 5
    assert len({kernel.tobytes() for kernel in convolutions}) == 5


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11689512), ("resnet34", 21797672)])
def test_parameter_count_is_torchvisions(name, parameters):
    model = build_model(name, (224, 224, 3), 1000, hidden_units=0)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == parameters


@pytest.mark.parametrize(
    "name",
    ["vgg16", "efficientnetb0", *(pytest.param(x, marks=SLOW) for x in ("resnet50", "vgg19"))],
)
def test_clone_computes_what_keras_applications_computes(name):
    """Same weights, published activation: the rewiring may not change the function."""
    model = settled_model(name, (64, 40, 3), 2, activation="swish" if "eff" in name else "relu")
    backbone = model.get_layer("backbone")
    published = APPLICATIONS[name](include_top=False, weights=None, input_shape=(64, 40, 3))
    assert [w.shape for w in backbone.trainable_weights] == [
        w.shape for w in published.trainable_weights
    ]
    for layer in backbone.layers:
        if layer.weights:
            published.get_layer(layer.name).set_weights(layer.get_weights())
    x = np.random.default_rng(0).random((2, 64, 40, 3)).astype("float32")
    scale = 255 if "eff" in name else 1  # Its own rescaling is left out of the clone.
    np.testing.assert_allclose(backbone(x), published(x * scale), rtol=1e-3, atol=1e-4)
    assert np.std(backbone(x)) > 0.01


@pytest.mark.parametrize(
    ("gray_model", "own", "other"),
    [
        ("resnet50", "gelu", "leaky_relu"),
        pytest.param("vgg16", "relu", "leaky_relu", marks=SLOW),
        ("efficientnetb0", "silu", "relu"),
        ("resnet34", "leaky_relu", "relu"),
    ],
    indirect=["gray_model"],
)
def test_activation_is_replaced_everywhere(gray_model, own, other):
    def activations(model):
        layers = model.get_layer("backbone").layers + model.layers
        names = {getattr(layer, "activation", keras.activations.linear) for layer in layers}
        return {f.__name__ for f in names} - {"linear", "sigmoid"}

    assert activations(gray_model) == {own}
    changed = build_model(gray_model.name, (*SHAPE, 1), 2, activation=other)
    assert activations(changed) == {other}


def test_depth_width_and_kernel_give_the_expected_parameters():
    """Kernel² × inputs × filters and four numbers of batch norm per filter, in each stage."""
    cnn = build_model("cnn", (32, 32, 1), 2, depth=2, width=8, kernel_size=5, hidden_units=0)
    assert cnn.count_params() == 25 * (8 + 8 * 16) + 4 * (8 + 16) + (16 + 1) * 2
    fnn = build_model("fnn", (8, 8, 1), 2, depth=3, width=10, hidden_units=0)
    assert fnn.count_params() == (64 + 1) * 10 + 2 * (10 + 1) * 10 + (10 + 1) * 2


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("resnet50", marks=SLOW), "efficientnetb0"]
)
def test_stem_stride_one_doubles_the_feature_map(name):
    size = (45, 50)  # One odd, one even: EfficientNet pads them differently.
    maps = [
        feature_layer(build_model(name, (*size, 1), 2, stem_stride=stride)).output.shape[1:3]
        for stride in (2, 1)
    ]
    assert maps[0] == tuple(-(-side // 32) for side in size)
    assert maps[1] == tuple(-(-side // 16) for side in size)


@pytest.mark.parametrize(
    ("name", "shortcuts"),
    [
        ("resnet18", 8),
        pytest.param("resnet34", 16, marks=SLOW),
        pytest.param("resnet50", 16, marks=SLOW),
        ("efficientnetb0", 9),
    ],
)
def test_residual_blocks_start_as_identities(name, shortcuts):
    model = build_model(name, (32, 32, 1), 2, zero_init_residual=True, seed=0)
    backbone = model.get_layer("backbone")
    sums = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Add)]
    assert len(sums) == shortcuts
    ends = keras.Model(backbone.input, [[*layer.input, layer.output] for layer in sums])
    image = np.random.default_rng(0).random((1, *backbone.input.shape[1:]), np.float32)
    for one, other, output in ends(image):
        branch, shortcut = sorted((np.asarray(one), np.asarray(other)), key=np.ptp)
        assert not branch.any()
        assert shortcut.any()
        np.testing.assert_array_equal(output, shortcut)


def test_stem_with_stride_one_stays_centred():
    """A symmetric image must give a symmetric map; one-sided padding would break that."""
    model = build_model("efficientnetb0", (32, 32, 1), 2, stem_stride=1, seed=0)
    backbone = model.get_layer("backbone")
    stem = keras.Model(backbone.input, backbone.get_layer("stem_conv").output)
    kernel = np.zeros((3, 3, 3, 32), "float32")
    kernel[1, 1] = 1  # Identity at the centre: position (i, j) must see pixel (i, j).
    backbone.get_layer("stem_conv").set_weights([kernel])
    x = np.random.default_rng(0).random((1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(stem(x)[..., 0], x.sum(-1), rtol=1e-5)


@pytest.mark.parametrize("gray_model", ["vgg16", "vgg19"], indirect=True)
def test_signal_does_not_fade_in_a_network_without_batch_norm(gray_model):
    """Keras' Glorot-uniform halves it at every layer, and training stays at chance."""
    features = keras.Model(gray_model.input, feature_layer(gray_model).output)
    assert np.std(features(image(1))) > 0.3


def test_batch_norm_momentum_reaches_every_layer():
    for name in ("cnn", "resnet18", "efficientnetb0"):
        backbone = build_model(name, (32, 32, 1), 2, batch_norm_momentum=0.8).get_layer("backbone")
        norms = [x for x in backbone.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert norms
        assert {norm.momentum for norm in norms} == {0.8}


def drop_rates(model):
    backbone = model.get_layer("backbone")
    return [x.rate for x in backbone.layers if isinstance(x, keras.layers.Dropout)]


def test_stochastic_depth_grows_to_the_given_rate():
    rates = drop_rates(build_model("resnet18", (32, 32, 1), 2, stochastic_depth=0.4))
    np.testing.assert_allclose(rates, 0.4 * np.arange(1, 9) / 8)
    # Keras' EfficientNet counts from block 0 of 16, and its last block has no shortcut to drop.
    published = drop_rates(build_model("efficientnetb0", (32, 32, 1), 2))
    halved = drop_rates(build_model("efficientnetb0", (32, 32, 1), 2, stochastic_depth=0.1))
    np.testing.assert_allclose(halved, np.array(published) / 2)
    np.testing.assert_allclose(published[-1], 0.2 * 14 / 16)


@pytest.fixture
def short_resnet():
    return partial(
        build_resnet,
        (32, 32, 1),
        block=basic_block,
        stage_blocks=(1,),
        activation="relu",
        seeds=SeedStream(0),
    )


def test_stochastic_depth_drops_whole_images(short_resnet):
    drop = short_resnet(stochastic_depth=0.9).get_layer("layer1.0.drop_path")
    out = drop(np.ones((64, 2, 2, 3), "float32"), training=True).numpy().reshape(64, -1)
    assert set(out.min(1)) == set(out.max(1)) == {np.float32(0), np.float32(1 / (1 - 0.9))}


def test_stochastic_depth_trains_on_batches_of_changing_size(short_resnet):
    model = short_resnet(stochastic_depth=0.3)
    model.compile("sgd", "mse")
    x, y = np.zeros((5, 32, 32, 1)), np.ones((5, 8, 8, 64))
    assert np.isfinite(model.fit(x, y, batch_size=3, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", ["fnn", "cnn", "resnet18", "efficientnetb0"])
def test_mixed_precision_computes_in_half_and_answers_in_float32(name):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = build_model(name, (32, 32, 1), 3)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert model.get_layer("backbone").output.dtype == "float16"
    assert model.output.dtype == "float32"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


def test_imagenet_input_keeps_float32_under_mixed_precision():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = build_model("resnet18", (32, 32, 1), 3, imagenet_input=True)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert model.get_layer("imagenet_input").output.dtype == "float32"


def imagenet_input(name, x):
    image = keras.Input(x.shape[1:])
    return keras.Model(image, _imagenet_input(image, ARCHITECTURES[name].imagenet_input))(x)


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg19"])
def test_imagenet_input_is_that_of_keras_applications(name):
    x = np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    theirs = getattr(keras.applications, name).preprocess_input(x * 255)
    np.testing.assert_allclose(imagenet_input(name, x), theirs, atol=1e-4)


def test_imagenet_input_of_efficientnet_is_keras_own_chain():
    x = np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    # Rescaling(1/255), Normalization whose stored variance is the standard deviation, and a
    # Rescaling by its root: https://github.com/tensorflow/tensorflow/issues/49930
    deviation = np.array([0.229, 0.224, 0.225])
    theirs = (x * 255 / 255 - [0.485, 0.456, 0.406]) / np.sqrt(deviation) / np.sqrt(deviation)
    np.testing.assert_allclose(imagenet_input("efficientnetb0", x), theirs, atol=1e-5)


def test_gray_equals_gray_stored_as_rgb_where_colour_is_wanted():
    gray = build_model("vgg16", (32, 32, 1), 2, seed=0)
    rgb = build_model("vgg16", (32, 32, 3), 2, seed=0)
    x = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    np.testing.assert_array_equal(gray(x), rgb(np.repeat(x, 3, axis=-1)))


def test_frozen_backbone_keeps_weights_and_moving_averages():
    model = build_model("cnn", (32, 32, 1), 2, seed=0)
    backbone = model.get_layer("backbone")

    def train():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss)
        x = np.random.default_rng(0).normal(3, 2, size=(8, 32, 32, 1))
        model.fit(x, np.arange(8) % 2, epochs=1, verbose=0)

    set_backbone_trainable(model, False)
    before = [w.numpy() for w in backbone.weights]
    head = model.get_layer("logits").get_weights()[0]
    train()
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.weights, strict=True))
    assert not np.array_equal(head, model.get_layer("logits").get_weights()[0])

    set_backbone_trainable(keras.Sequential([model]), True)  # Found inside another model, too.
    train()
    changed = [not np.array_equal(a, b) for a, b in zip(before, backbone.weights, strict=True)]
    assert all(changed)


@pytest.mark.parametrize("name", ["cnn", "resnet18", "vgg16"])
def test_logits_follow_from_the_feature_map(name):
    model = settled_model(name, (*SHAPE, 1), 4, hidden_units=0)
    both = keras.Model(model.input, [feature_layer(model).output, model.output])
    features, logits = both(image(1))
    kernel, bias = model.get_layer("logits").get_weights()
    expected = np.mean(features, axis=(1, 2)) @ kernel + bias
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5 * np.ptp(logits))


def test_dense_network_has_no_feature_map():
    with pytest.raises(AlloykError, match="must be a convolutional network, got fnn"):
        feature_layer(build_model("fnn", (8, 8, 1), 2))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"activation": "gelu"}),
        ("cnn", {"activation": "leaky_relu"}),
        pytest.param("resnet34", {"imagenet_input": True}, marks=pytest.mark.slow),
        pytest.param("resnet50", {"imagenet_input": True}, marks=pytest.mark.slow),
        pytest.param("efficientnetb0", {"imagenet_input": True}, marks=pytest.mark.slow),
    ],
)
def test_tflite_answers_the_same_with_builtin_operators(name, options, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = settled_model(name, (32, 32, 1), 3, **options)
    model.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    x = np.random.default_rng(0).random((1, 32, 32, 1)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    lite = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(lite, model(x), rtol=1e-3, atol=1e-4)
    assert np.std(lite) > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81", (32, 32, 1), 2), "must be one of fnn, .*resnet18.*, got 'resnet81'"),
        (("vgg16", (20, 40, 1), 2), "vgg16 needs images of at least 32×32 pixels, got 20×40"),
    ],
)
def test_bad_request_is_named(arguments, message):
    with pytest.raises(AlloykError, match=message):
        build_model(*arguments)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("vgg16", {"batch_norm_momentum": 0.9}, "vgg16 has no batch_norm_momentum"),
        ("resnet50", {"stochastic_depth": 0.1}, "has no stochastic_depth.*resnet18, resnet34"),
        ("cnn", {"stem_stride": 1}, "cnn has no stem_stride"),
        ("fnn", {"kernel_size": 5}, "fnn has no kernel_size; omit it, or choose one of cnn"),
        ("vgg16", {"depth": 3}, "vgg16 has no depth; omit it, or choose one of fnn, cnn"),
        ("cnn", {"activation": "tanhh"}, "activation must be relu, .*, got 'tanhh'"),
        ("cnn", {"imagenet_input": True}, "cnn has no published weights"),
    ],
)
def test_option_without_meaning_is_refused(name, option, message):
    with pytest.raises(AlloykError, match=message):
        build_model(name, (32, 32, 1), 2, **option)


@pytest.mark.parametrize(
    "bad",
    [{"dropout": 1.0}, {"hidden_units": -1}, {"stem_stride": 4}],
)
def test_number_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must be"):
        build_model("resnet18", (32, 32, 1), 2, **bad)
