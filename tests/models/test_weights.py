import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file

from alloyk.errors import AlloykError
from alloyk.models import build_model, expects_unit_range
from alloyk.models.applications import APPLICATIONS

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
TORCH_MEAN, TORCH_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def torchvision_weights(name, seed=0):
    """Random weights under the names and shapes that torchvision's documentation lists."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def convolution(key, out, into, size):
        scale = np.sqrt(2 / (into * size**2))
        tensors[f"{key}.weight"] = rng.normal(0, scale, (out, into, size, size))

    def norm(key, n):
        tensors[f"{key}.weight"] = rng.uniform(0.5, 1, n)
        tensors[f"{key}.bias"] = rng.normal(0, 0.1, n)
        tensors[f"{key}.running_mean"] = rng.normal(0, 0.1, n)
        tensors[f"{key}.running_var"] = rng.uniform(0.5, 2, n)
        tensors[f"{key}.num_batches_tracked"] = np.array(7)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    into = 64
    for stage, blocks in enumerate(BLOCKS[name]):
        out = 64 * 2**stage
        for index in range(blocks):
            key = f"layer{stage + 1}.{index}"
            convolution(f"{key}.conv1", out, into, 3)
            norm(f"{key}.bn1", out)
            convolution(f"{key}.conv2", out, out, 3)
            norm(f"{key}.bn2", out)
            if into != out:
                convolution(f"{key}.downsample.0", out, into, 1)
                norm(f"{key}.downsample.1", out)
            into = out
    tensors["fc.weight"], tensors["fc.bias"] = rng.normal(size=(1000, 512)), np.zeros(1000)
    return {k: np.ascontiguousarray(v, "float32") for k, v in tensors.items()}


def torch_resnet(tensors, blocks, x):
    """PyTorch's ResNet in NumPy and float64: `(N, 3, H, W)` to the last feature map."""

    def convolve(x, key, stride):
        kernel = tensors[f"{key}.weight"].astype("float64")
        pad = kernel.shape[-1] // 2
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)

    def norm(x, key):
        weight, bias, mean, variance = (
            tensors[f"{key}.{part}"].astype("float64")[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    x = np.maximum(norm(convolve(x, "conv1", 2), "bn1"), 0)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    x = sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max((-1, -2))
    for stage, count in enumerate(blocks):
        for index in range(count):
            key, stride = f"layer{stage + 1}.{index}", 2 if stage and not index else 1
            shortcut = x
            if f"{key}.downsample.0.weight" in tensors:
                shortcut = norm(convolve(x, f"{key}.downsample.0", stride), f"{key}.downsample.1")
            y = np.maximum(norm(convolve(x, f"{key}.conv1", stride), f"{key}.bn1"), 0)
            y = norm(convolve(y, f"{key}.conv2", 1), f"{key}.bn2")
            x = np.maximum(y + shortcut, 0)
    return x


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", (64, 96)), ("resnet18", (47, 33)), ("resnet34", (64, 64))]
)
def test_torchvision_weights_compute_what_pytorch_computes(name, size, tmp_path):
    tensors = torchvision_weights(name)
    save_file(tensors, tmp_path / "weights.safetensors")
    model = build_model(name, (*size, 3), 2, weights=tmp_path / "weights.safetensors")
    x = np.random.default_rng(1).random((2, *size, 3))

    standardised = ((x - TORCH_MEAN) / TORCH_STD).transpose(0, 3, 1, 2)
    expected = torch_resnet(tensors, BLOCKS[name], standardised).transpose(0, 2, 3, 1)

    features = keras.Model(model.input, model.get_layer("features").output)(x.astype("float32"))
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_gray_image_meets_pretrained_colour_weights_as_equal_channels(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(torchvision_weights("resnet18"), file)
    gray = build_model("resnet18", (32, 32, 1), 2, weights=file, seed=0)
    rgb = build_model("resnet18", (32, 32, 3), 2, weights=file, seed=0)
    x = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    np.testing.assert_array_equal(gray(x), rgb(np.repeat(x, 3, -1)))


def change(tensors, how):
    match how:
        case "missing":
            del tensors["layer3.1.bn2.running_var"]
        case "extra":
            tensors["layer4.2.conv1.weight"] = np.zeros((1, 1, 1, 1), "float32")
        case "shape":
            tensors["conv1.weight"] = np.zeros((64, 1, 7, 7), "float32")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"the shapes of layer layer3\.1\.bn2 must be .*, got "),
        ("extra", r"1 layer is unknown, first layer4\.2\.conv1\.weight"),
        ("shape", r"conv1 must be \[\(7, 7, 3, 64\)\], got \[\(7, 7, 1, 64\)\]"),
    ],
)
def test_torchvision_file_that_does_not_fit_is_refused(how, message, tmp_path):
    tensors = torchvision_weights("resnet18")
    change(tensors, how)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(AlloykError, match=message):
        build_model("resnet18", (32, 32, 1), 2, weights=tmp_path / "w.safetensors")


def test_file_of_a_deeper_network_is_refused(tmp_path):
    save_file(torchvision_weights("resnet34"), tmp_path / "w.safetensors")
    with pytest.raises(AlloykError, match=r"must fit resnet18, got .* layers are unknown"):
        build_model("resnet18", (32, 32, 1), 2, weights=tmp_path / "w.safetensors")


def test_safetensors_fit_the_residual_networks_only(tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(AlloykError, match=r"must be for resnet18 or resnet34, got .* for vgg16"):
        build_model("vgg16", (32, 32, 1), 2, weights=tmp_path / "w.safetensors")


def write_applications_file(path, layers):
    """Keras Applications' HDF5 layout: attributes name the layers and their arrays, in order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{i}:0" for i in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()


@pytest.mark.parametrize(
    "name", [pytest.param("resnet50", marks=pytest.mark.slow), "vgg16", "efficientnetb0"]
)
def test_keras_applications_file_is_loaded_layer_by_layer(name, tmp_path):
    source = APPLICATIONS[name](include_top=False, weights=None, input_shape=(32, 32, 3))
    predictions = keras.layers.Dense(1000, name="predictions")
    predictions.build((None, 8))
    write_applications_file(tmp_path / f"{name}.h5", [*source.layers, predictions])
    model = build_model(name, (32, 40, 1), 2, weights=str(tmp_path / f"{name}.h5"))
    for layer in model.get_layer("backbone").layers:
        assert getattr(layer, "activation", None) is not keras.activations.gelu  # Table 1's.
        if layer.weights:
            theirs = source.get_layer(layer.name).get_weights()
            for ours, their in zip(layer.get_weights(), theirs, strict=True):
                np.testing.assert_array_equal(ours, their, err_msg=layer.name)


def test_keras_applications_file_of_another_network_is_refused(tmp_path):
    source = APPLICATIONS["vgg19"](include_top=False, weights=None, input_shape=(32, 32, 3))
    write_applications_file(tmp_path / "vgg19.h5", source.layers)
    with pytest.raises(AlloykError, match=r"must fit vgg16, got .*vgg19\.h5: .* block3_conv4"):
        build_model("vgg16", (32, 32, 1), 2, weights=tmp_path / "vgg19.h5")


def test_download_is_keras_own_and_its_weights_arrive(monkeypatch):
    """Stands in for the network, not for Keras: the constructor is asked for ImageNet weights."""
    source = APPLICATIONS["vgg16"](include_top=False, weights=None, input_shape=(32, 32, 3))
    asked = []

    def constructor(*, weights, **options):
        asked.append(weights)
        return source if weights == "imagenet" else original(weights=weights, **options)

    original = APPLICATIONS["vgg16"]
    monkeypatch.setitem(APPLICATIONS, "vgg16", constructor)
    model = build_model("vgg16", (32, 32, 1), 2, weights="imagenet")
    assert asked == [None, "imagenet"]
    first = model.get_layer("backbone").get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(first, source.get_layer("block5_conv3").get_weights()[0])


def test_failed_download_says_what_to_do(monkeypatch, tmp_path):
    from keras.src.utils import file_utils

    def no_network(*args, **kwargs):
        from urllib.error import URLError

        raise URLError("Name or service not known")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    message = r"vgg16 could not be downloaded.*not known.*--set model\.weights=none.*FILE\.h5"
    with pytest.raises(AlloykError, match=message) as error:
        build_model("vgg16", (32, 32, 1), 2, weights="imagenet")
    assert "\n" not in str(error.value)


def test_pretrained_network_takes_no_other_activation():
    with pytest.raises(
        AlloykError, match=r"resnet50 with ImageNet weights must have activation relu, got GELU"
    ):
        build_model("resnet50", (32, 32, 1), 2, weights="imagenet", activation="GELU")


def pairs(first, second, *layers):
    for layer in layers:
        yield from zip(first.get_layer(layer).weights, second.get_layer(layer).weights, strict=True)


@pytest.mark.parametrize("file", ["m.weights.h5", "m.keras"])
def test_own_file_brings_the_backbone_and_a_head_that_fits(file, tmp_path):
    source = build_model("cnn", (32, 32, 1), 4, seed=1)
    source.get_layer("backbone").get_layer("stage2_bn").set_weights(
        [np.full(64, value, "float32") for value in (1, 2, 3, 4)]
    )
    (source.save if file.endswith(".keras") else source.save_weights)(tmp_path / file)
    x = np.random.default_rng(0).normal(size=(2, 48, 32, 1))

    same = build_model("cnn", (48, 32, 1), 4, seed=2, weights=tmp_path / file)
    assert all(np.array_equal(a, b) for a, b in pairs(source, same, "backbone", "hidden", "logits"))
    assert same(x).shape == (2, 4)

    other = build_model("cnn", (48, 32, 1), 6, seed=2, weights=tmp_path / file)
    assert all(np.array_equal(a, b) for a, b in pairs(source, other, "backbone", "hidden"))
    assert other(x).shape == (2, 6)


def test_own_file_is_found_inside_a_model_with_preprocessing(tmp_path):
    source = build_model("cnn", (32, 32, 1), 3, seed=1)
    inputs = keras.Input((64, 64, 1))
    x = keras.layers.Normalization(mean=1.0, variance=4.0)(inputs)
    outer = keras.Model(inputs, source(keras.layers.Resizing(32, 32)(x)))
    outer.save(tmp_path / "model.keras")
    model = build_model("cnn", (32, 32, 1), 3, seed=2, weights=tmp_path / "model.keras")
    assert all(np.array_equal(a, b) for a, b in pairs(source, model, "backbone", "logits"))


def test_own_file_remembers_the_input_range_it_was_trained_on(tmp_path):
    build_model("resnet18", (32, 32, 1), 2, imagenet_input=True).save(tmp_path / "m.keras")
    assert expects_unit_range(tmp_path / "m.keras")
    model = build_model("resnet18", (32, 32, 1), 2, weights=tmp_path / "m.keras")
    assert model.get_layer("imagenet_input")
    build_model("cnn", (32, 32, 1), 2).save(tmp_path / "cnn.keras")
    assert not expects_unit_range(tmp_path / "cnn.keras")


def test_own_file_of_another_architecture_is_refused(tmp_path):
    build_model("resnet34", (32, 32, 1), 2).save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(AlloykError, match=r"must fit resnet18, got .*: \d+ layers are unknown"):
        build_model("resnet18", (32, 32, 1), 2, weights=tmp_path / "m.weights.h5")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl", ".PTH", ".ckpt"])
def test_pickle_is_refused_unopened(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(
        AlloykError, match=r"must not be a pickle, got .*convert it to \.safetensors"
    ):
        build_model("resnet18", (32, 32, 1), 2, weights=path)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".weights.h5", ".h5"])
def test_pickle_under_another_name_is_refused(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AlloykError, match=r"^cannot read the weights .* as a .* file") as error:
        build_model("resnet18", (32, 32, 1), 2, weights=path)
    assert "\n" not in str(error.value)


def test_archive_without_weights_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("other.json", "{}")
    with pytest.raises(AlloykError, match=r"cannot read the weights .*m\.keras as a \.keras file"):
        build_model("cnn", (32, 32, 1), 2, weights=tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("missing.h5", r"weights file not found: missing\.h5"),
        ("weights.txt", r"weights must be none, imagenet, or a .*, got weights\.txt"),
        ("imagnet", "weights must be none, imagenet, or a .*, got imagnet"),
        ("imagenet", "resnet18 has no weights to download; give a local .safetensors"),
    ],
)
def test_weights_that_are_not_there_are_named(weights, message):
    with pytest.raises(AlloykError, match=message):
        build_model("resnet18", (32, 32, 1), 2, weights=weights)


def test_small_networks_have_no_imagenet_weights():
    with pytest.raises(AlloykError, match="cnn has no published weights, got weights=imagenet"):
        build_model("cnn", (32, 32, 1), 2, weights="imagenet")


def test_a_file_without_its_configuration_is_refused(tmp_path):
    build_model("cnn", (32, 32, 1), 2).save(tmp_path / "whole.keras")
    with (
        zipfile.ZipFile(tmp_path / "whole.keras") as whole,
        zipfile.ZipFile(tmp_path / "m.keras", "w") as part,
    ):
        part.writestr("model.weights.h5", whole.read("model.weights.h5"))
    with pytest.raises(AlloykError, match=r"cannot read the configuration in .*m\.keras"):
        build_model("cnn", (32, 32, 1), 2, weights=tmp_path / "m.keras")


@pytest.mark.parametrize("name", ["cnn", "fnn", "resnet18", "resnet50"])
def test_a_file_of_another_activation_is_refused(name, tmp_path):
    source = build_model(name, (32, 32, 1), 2, activation="gelu")
    source.save(tmp_path / "m.keras")
    with pytest.raises(
        AlloykError, match=r"network, relu, got gelu in .*; set model.activation=gelu"
    ):
        build_model(name, (32, 32, 1), 2, activation="relu", weights=tmp_path / "m.keras")
    build_model(name, (32, 32, 1), 3, activation="gelu", weights=tmp_path / "m.keras")
