"""Load weights into a classifier, from a download or a file. Pickles are never opened.

| `weights` | content | fits |
|---|---|---|
| `imagenet` | Keras Applications' download | resnet50, vgg16, vgg19, efficientnetb0 |
| `*.h5` | the same file, downloaded by hand | the same |
| `*.safetensors` | ImageNet weights under torchvision's names | resnet18, resnet34 |
| `*.keras`, `*.weights.h5` | a model saved by alloyk | the same architecture |

Every source is read into the same form, layer name → arrays in Keras' order. Names and shapes are
compared with the backbone before any weight is assigned. The classifier of an ImageNet file is
ignored; the head of an alloyk file is loaded if its shapes match.
"""

import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from alloyk.errors import AlloykError
from alloyk.messages import counted
from alloyk.models.applications import APPLICATIONS, MIN_SIDE
from alloyk.models.estimate import is_estimate_layer

LayerArrays = dict[str, list[np.ndarray]]

PICKLES = {".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt", ".th"}
HEAD = ("hidden", "logits")
TORCHVISION = {
    keras.layers.Conv2D: ("weight",),
    keras.layers.BatchNormalization: ("weight", "bias", "running_mean", "running_var"),
}


def is_imagenet(weights: str | Path | None) -> bool:
    """Return whether a value of `weights` means published ImageNet weights.

    Example:
        >>> is_imagenet("imagenet"), is_imagenet("run/model.keras"), is_imagenet(None)
        (True, False, False)
    """
    return _kind(weights) in ("imagenet", ".h5", ".safetensors")


def expects_unit_range(weights: str | Path | None) -> bool:
    """Return whether a model with these weights takes an image in [0, 1], not a standardised one.

    True for ImageNet weights, and for a `.keras` file whose training started from them. A
    `.weights.h5` file does not record it; build with `imagenet_input=True` if its model had it.
    """
    if weights is not None and _kind(weights) == ".keras" and zipfile.is_zipfile(weights):
        with zipfile.ZipFile(weights) as archive:
            found = "config.json" in archive.namelist()
            return found and b'"imagenet_input"' in archive.read("config.json")
    return is_imagenet(weights)


def check_weights(name: str, weights: str | Path) -> None:
    """Refuse weights that no network of an architecture can take, before it is built.

    Args:
        name: The architecture.
        weights: `imagenet` or the path of a file.

    Raises:
        AlloykError: There is no download, or the file does not exist, is a pickle, of an unknown
            type, or for other architectures.
    """
    kind = _kind(weights)
    if kind != "imagenet":
        _check_file(Path(weights), kind)
    elif name not in APPLICATIONS:
        raise AlloykError(
            f"{name} has no weights to download; give a local .safetensors file with torchvision's "
            "names (--set model.weights=FILE), or --set model.weights=none"
        )
    if kind == ".safetensors" and name not in ("resnet18", "resnet34"):
        raise AlloykError(
            f".safetensors weights must be for resnet18 or resnet34, got {weights} for {name}; "
            "use weights=imagenet or an .h5 file of Keras Applications"
        )


def load_weights(model: keras.Model, weights: str | Path) -> None:
    """Load weights into a classifier of `build_model`.

    Args:
        model: The classifier; its name is the architecture.
        weights: `imagenet` or the path of a file, see the table above.

    Raises:
        AlloykError: The file does not exist, is a pickle or of an unknown type, the download
            failed, or names or shapes differ, or the activation of a `.keras` file. The model is
            then unchanged.
    """
    check_weights(model.name, weights)
    kind = _kind(weights)
    if kind == "imagenet":
        arrays = _download(model.name)
    elif kind == ".safetensors":
        arrays = _read_torchvision(Path(weights), model)
    else:
        try:
            arrays = READERS[kind](Path(weights))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise AlloykError(
                f"cannot read the weights {weights} as a {kind} file ({error}); give another file"
            ) from error
    backbone = model.get_layer("backbone")
    _check_fit(backbone, arrays, origin=f"{weights}", name=model.name)
    if kind == ".keras":
        _check_activation(backbone, Path(weights))
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(arrays[layer.name])
    for head in model.layers:
        if _of_head(head.name) and _shapes(arrays.get(head.name, ())) == _shapes(head.weights):
            head.set_weights(arrays.get(head.name, []))


def _of_head(name: str) -> bool:
    return name in HEAD or is_estimate_layer(name)


def _kind(weights):
    """Reduce a value of `weights` to `imagenet`, a suffix, or None."""
    if weights is None or weights == "imagenet":
        return weights
    name = Path(weights).name.lower()
    return ".weights.h5" if name.endswith(".weights.h5") else Path(name).suffix


def _check_file(path, kind):
    if kind in PICKLES:
        raise AlloykError(
            f"weights must not be a pickle, got {path}; a pickle can run any code when it is "
            "opened. If you trust the file, convert it to .safetensors"
        )
    if kind != ".safetensors" and kind not in READERS:
        raise AlloykError(
            "weights must be none, imagenet, or a .keras, .weights.h5, .h5 or .safetensors file, "
            f"got {path}"
        )
    if not path.is_file():
        raise AlloykError(f"weights file not found: {path}; check the path or use weights=none")


def _check_fit(backbone, arrays, *, origin, name):
    needed = {layer.name: _shapes(layer.weights) for layer in backbone.layers if layer.weights}
    found = {layer: _shapes(values) for layer, values in arrays.items() if not _of_head(layer)}
    if missing := [layer for layer in needed if layer not in found]:
        problem = f"{counted(len(missing), 'layer', 'are')} missing, first {missing[0]}"
    elif extra := [layer for layer in found if layer not in needed]:
        problem = f"{counted(len(extra), 'layer', 'are')} unknown, first {extra[0]}"
    elif differing := [layer for layer in needed if needed[layer] != found[layer]]:
        layer = differing[0]
        problem = f"the shapes of layer {layer} must be {needed[layer]}, got {found[layer]}"
    else:
        return
    raise AlloykError(
        f"weights must fit {name}, got {origin}: {problem}; choose the architecture of the file, "
        "or another file"
    )


def _check_activation(backbone, path):
    """Refuse a file whose backbone was trained with another activation."""
    try:
        with zipfile.ZipFile(path) as archive:
            trained = dict(_activations(json.loads(archive.read("config.json"))))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise AlloykError(
            f"cannot read the configuration in {path} ({error}); give another file"
        ) from error
    for layer in backbone.layers:
        own = layer.get_config().get("activation")
        if trained.get(layer.name, own) != own:
            raise AlloykError(
                f"weights must be trained with the activation of the network, {own}, got "
                f"{trained[layer.name]} in {path}; set model.activation={trained[layer.name]}, or "
                "choose another file"
            )


def _activations(config):
    """Name and activation of each layer within a saved configuration."""
    if isinstance(config, list):
        for one in config:
            yield from _activations(one)
    elif isinstance(config, dict):
        if isinstance(config.get("activation"), str) and "name" in config:
            yield config["name"], config["activation"]
        for one in config.values():
            yield from _activations(one)


def _shapes(arrays):
    return [tuple(array.shape) for array in arrays]


def _download(name):
    try:
        source = APPLICATIONS[name](
            include_top=False, weights="imagenet", input_shape=(MIN_SIDE, MIN_SIDE, 3)
        )
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        reason = " ".join(str(error).split())
        raise AlloykError(
            f"ImageNet weights of {name} could not be downloaded ({reason}); check the network, "
            "or --set model.weights=none, or give a local file --set model.weights=FILE.h5"
        ) from error
    return {
        layer.name: layer.get_weights()
        for layer in source.layers
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    }


def _read_applications(path) -> LayerArrays:
    """Read Keras Applications' HDF5 layout, with or without the classifier on top."""
    import h5py

    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        layers = {_text(name): group[_text(name)] for name in group.attrs["layer_names"]}
        arrays = {
            name: [np.asarray(layer[_text(w)]) for w in layer.attrs["weight_names"]]
            for name, layer in layers.items()
        }
    classifier = ("predictions", "fc1", "fc2", "normalization")
    return {
        name: values
        for name, values in arrays.items()
        if values and not name.startswith(classifier)
    }


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)


def _read_own(path) -> LayerArrays:
    """Read the backbone and head of a model saved by alloyk, without its configuration."""
    import h5py

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    else:
        source = path
    names = {}
    with h5py.File(source) as file:

        def visit(place, group):
            if isinstance(group, h5py.Group) and "name" in group.attrs:
                names[place.removesuffix("vars").rstrip("/")] = _text(group.attrs["name"])

        file.visititems(visit)
        backbones = [place for place, name in names.items() if name == "backbone"]
        if len(backbones) != 1:
            raise ValueError("it is not a model of alloyk")
        arrays = {}
        for place, name in names.items():
            if place.startswith(f"{backbones[0]}/layers/".lstrip("/")) or _of_head(name):
                variables = file[f"{place}/vars"]
                arrays[name] = [np.asarray(variables[str(i)]) for i in range(len(variables))]
    return {name: values for name, values in arrays.items() if values}


def _read_torchvision(path, model) -> LayerArrays:
    """Read torchvision's names: the backbone's layer names with a suffix for each array."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AlloykError(
            f"cannot read the weights {path} as a .safetensors file ({error}); give another file"
        ) from error
    arrays = {}
    for layer in model.get_layer("backbone").layers:
        if suffixes := TORCHVISION.get(type(layer)):
            names = [f"{layer.name}.{suffix}" for suffix in suffixes]
            values = [tensors.pop(name) for name in names if name in tensors]
            if values:
                # PyTorch's kernels are (out, in, height, width), Keras' (height, width, in, out).
                arrays[layer.name] = [
                    (v.transpose(2, 3, 1, 0) if v.ndim == 4 else v).astype("float32")
                    for v in values
                ]
    ignored = ("fc.", "num_batches_tracked")
    rest = [name for name in tensors if not any(part in name for part in ignored)]
    return arrays | {name: [tensors[name]] for name in rest}


READERS = {".h5": _read_applications, ".keras": _read_own, ".weights.h5": _read_own}
