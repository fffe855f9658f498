"""What a user would write without alloyk: Keras Applications or a plain ResNet on 8-bit PNG.

    python scripts/baseline_plain_keras.py DATA OUT [--arch resnet18] [--image-size 64]
        [--epochs 100] [--minutes 30] [--target 0.99] [--seed 0]

DATA has the folders train, val and test with class folders. Images become 8-bit PNG, each scaled
from its own minimum and maximum (once, into OUT/png). Then `image_dataset_from_directory` with
batches of 32, `cache` and `prefetch`, Keras' layers for flip, rotation, translation and contrast,
and `fit` with Adam 1e-3. ResNet-18 has the usual basic blocks, EfficientNetB0 is that of Keras
Applications, both from scratch. The weights of the best validation accuracy are kept, the test
accuracy is that of these weights; OUT/predictions.csv has `path,label,predicted`.

Prints a line of JSON after each epoch and at the end: seconds since the start of the script,
epoch, validation and test accuracy. Stops at `--target` test accuracy, at `--epochs`, or after
`--minutes`. Looking at the test images after each epoch is needed to know when the target is
reached; the time that it takes is not counted.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402 - the clock starts before any import
import json  # noqa: E402
from pathlib import Path  # noqa: E402

ARCHITECTURES = ("resnet18", "efficientnetb0")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--target", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    folder = options.out / "png"
    write_png(options.data, folder)

    import keras

    keras.utils.set_random_seed(options.seed)
    size = (options.image_size, options.image_size)
    splits = {
        name: keras.utils.image_dataset_from_directory(
            folder / name, image_size=size, batch_size=32, color_mode="rgb", seed=options.seed,
            shuffle=name == "train", verbose=False,
        )
        for name in ("train", "val", "test")
    }  # fmt: skip
    files, classes = splits["test"].file_paths, splits["train"].class_names
    splits = {name: split.cache() for name, split in splits.items()}
    # `cache` keeps one order of the training images: shuffle anew in each epoch.
    train = splits["train"].unbatch().shuffle(10_000, seed=options.seed).batch(32).prefetch(2)
    model = network(options.arch, size, len(classes))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    watch = watcher(options, splits["test"])
    best = keras.callbacks.ModelCheckpoint(
        options.out / "best.weights.h5", monitor="val_accuracy", save_best_only=True,
        save_weights_only=True,
    )  # fmt: skip
    model.fit(
        train, validation_data=splits["val"], epochs=options.epochs, callbacks=[best, watch],
        verbose=0,
    )  # fmt: skip
    model.load_weights(options.out / "best.weights.h5")
    seconds = round(time.monotonic() - STARTED - watch.uncounted, 1)
    accuracy = write_predictions(model, splits["test"], files, classes, options.out)
    print(json.dumps({"end": True, "seconds": seconds, "test_accuracy": accuracy}), flush=True)


def write_predictions(model, test, files: list[str], classes: list[str], out: Path) -> float:
    """Write the predictions of the test images, and return their accuracy."""
    import csv

    labels = [Path(file).parent.name for file in files]
    predicted = [classes[i] for i in model.predict(test, verbose=0).argmax(axis=1)]
    paths = [f"{label}/{Path(file).stem}" for file, label in zip(files, labels, strict=True)]
    with (out / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "predicted"])
        writer.writerows(zip(paths, labels, predicted, strict=True))
    right = [label == found for label, found in zip(labels, predicted, strict=True)]
    return sum(right) / len(right)


def write_png(data: Path, out: Path) -> None:
    """Scale each image from its minimum and maximum to 8 bit, once."""
    import numpy as np
    from PIL import Image

    for split in ("train", "val", "test"):
        for path in sorted((data / split).glob("*/*")):
            target = out / split / path.parent.name / f"{path.stem}.png"
            if target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            image = np.asarray(Image.open(path)).astype(np.float32)
            low, high = image.min(), image.max()
            scaled = 255 * (image - low) / max(high - low, 1)
            Image.fromarray(scaled.round().astype(np.uint8)).save(target)


def network(arch: str, size: tuple[int, int], classes: int):
    """Augmentation, rescaling, backbone, pooling, dropout, softmax."""
    import keras
    from keras import layers

    inputs = keras.Input((*size, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.02)(x)
    x = layers.RandomTranslation(0.05, 0.05)(x)
    x = layers.RandomContrast(0.1)(x)
    if arch == "efficientnetb0":  # which rescales by itself
        x = keras.applications.EfficientNetB0(include_top=False, weights=None)(x)
    else:
        x = resnet18(layers.Rescaling(1 / 255)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def resnet18(x):
    """The usual basic blocks: 7×7 stem, max pooling, four stages of two."""
    from keras import layers

    def convolve(x, filters, size, stride=1):
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    x = layers.ReLU()(convolve(x, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage in range(4):
        for block in range(2):
            filters, stride = 64 * 2**stage, 2 if stage and not block else 1
            shortcut = convolve(x, filters, 1, stride) if stride > 1 else x
            y = layers.ReLU()(convolve(x, filters, 3, stride))
            x = layers.ReLU()(layers.Add()([convolve(y, filters, 3), shortcut]))
    return x


def watcher(options: argparse.Namespace, test):
    """The callback that prints a line per epoch and stops at the target or the time."""
    import keras

    class Watch(keras.callbacks.Callback):
        uncounted = 0.0

        def on_epoch_end(self, epoch, logs=None):
            begun = time.monotonic()
            seconds = begun - STARTED - self.uncounted
            accuracy = self.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
            self.uncounted += time.monotonic() - begun
            line = {
                "seconds": round(seconds, 1),
                "epoch": epoch + 1,
                "val_accuracy": logs["val_accuracy"],
                "test_accuracy": accuracy,
            }
            print(json.dumps(line), flush=True)
            if accuracy >= options.target or seconds > 60 * options.minutes:
                self.model.stop_training = True

    return Watch()


if __name__ == "__main__":
    main()
