import keras
import numpy as np
import pytest
from pydantic import TypeAdapter

from alloyk.config.choices import OptimizerConfig
from alloyk.training.optimizers import OPTIMIZERS, build_optimizer


def built(name, learning_rate, *, decay_norms_and_biases=False, **options):
    """An optimizer with the configuration's defaults for what is not given."""
    options = {"weight_decay": 0.0, **options}
    settings = TypeAdapter(OptimizerConfig).validate_python({"name": name, **options}).model_dump()
    del settings["learning_rate"]
    return build_optimizer(
        learning_rate=learning_rate, decay_norms_and_biases=decay_norms_and_biases, **settings
    )


START, GRADIENTS = 2.0, [0.5, -0.3, 0.2]


def adam(g, s, lr, b1=0.9, b2=0.999, epsilon=1e-7):
    s["t"] = t = s.get("t", 0) + 1
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    # The paper's second form: epsilon is added before the bias correction.
    return lr * np.sqrt(1 - b2**t) / (1 - b1**t) * s["m"] / (np.sqrt(s["v"]) + epsilon)


def sgd(g, s, lr):
    return lr * g


def momentum(g, s, lr, momentum=0.9, nesterov=False):
    s["v"] = momentum * s.get("v", 0) + lr * g
    return momentum * s["v"] + lr * g if nesterov else s["v"]


def rmsprop(g, s, lr, rho=0.9, momentum=0.0, epsilon=1e-7):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
    s["m"] = momentum * s.get("m", 0) + lr * g / np.sqrt(s["v"] + epsilon)
    return s["m"]


FORMULAS = {"adam": adam, "adamw": adam, "sgd": sgd, "momentum": momentum, "rmsprop": rmsprop}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in OPTIMIZERS),
        ("adam", {"epsilon": 1e-3}),
        ("momentum", {"momentum": 0.5, "nesterov": True}),
        ("rmsprop", {"rho": 0.8, "momentum": 0.9, "epsilon": 1e-3}),
    ],
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_three_steps_equal_the_formula_with_decoupled_decay(name, options, weight_decay):
    optimizer = built(name, 0.05, weight_decay=weight_decay, **options)
    variable = keras.Variable(START, name="kernel")
    expected, state = START, {}
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        expected -= 0.05 * weight_decay * expected
        expected -= FORMULAS[name](gradient, state, 0.05, **options)
        np.testing.assert_allclose(variable, expected, rtol=2e-6)


def test_decay_follows_the_schedule():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    optimizer = built("sgd", schedule, weight_decay=0.1)
    variable = keras.Variable(1.0, name="kernel")
    for _ in range(3):
        optimizer.apply([keras.ops.zeros(())], [variable])
    np.testing.assert_allclose(variable, (1 - 0.05) * (1 - 0.025) * (1 - 0.0125), rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("decay_all", [False, True])
def test_decay_spares_biases_and_batch_norm(policy, decay_all):
    layers = [  # One is called beta: it is the variable's name that counts, not the layer's.
        keras.layers.Conv2D(2, 1, name="beta", dtype=policy),
        keras.layers.BatchNormalization(dtype=policy),
        keras.layers.DepthwiseConv2D(1, dtype=policy),
        keras.layers.Dense(2, name="bias_dense", dtype=policy),
    ]
    model = keras.Sequential([keras.layers.Input((4, 4, 1)), *layers])
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = built("sgd", 1.0, weight_decay=0.5, decay_norms_and_biases=decay_all)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    zeros = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable in model.trainable_variables:
        decayed = decay_all or variable.name in ("kernel", "depthwise_kernel")
        np.testing.assert_allclose(variable, 0.5 if decayed else 1.0, err_msg=variable.path)


def test_gradients_are_clipped_by_their_global_norm():
    optimizer = built("sgd", 1.0, clip_norm=1.0)
    variables = [keras.Variable(np.zeros(1)), keras.Variable(np.zeros(1))]
    optimizer.apply([np.array([3.0], "float32"), np.array([4.0], "float32")], variables)
    np.testing.assert_allclose([v.numpy().item() for v in variables], [-0.6, -0.8], rtol=1e-6)


def test_small_gradients_are_not_clipped():
    optimizer = built("sgd", 1.0, clip_norm=10.0)
    variable = keras.Variable(np.zeros(1))
    optimizer.apply([np.array([3.0], "float32")], [variable])
    np.testing.assert_allclose(variable, -3, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lion9", {}, "^`name` must be one of adam, .*, got 'lion9'$"),
        ("sgd", {"momentum": 0.9}, "^the options of sgd must be none, got momentum$"),
        ("adam", {"rho": 0.9}, "^the options of adam must be beta_1, beta_2, epsilon, got rho$"),
        ("adam", {"weight_decay": -1.0}, "^`weight_decay` must be >= 0, got -1.0$"),
        ("adam", {"clip_norm": 0.0}, "^`clip_norm` must be positive, got 0.0$"),
    ],
)
def test_bad_value_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(name, 0.1, **{"weight_decay": 0.0, "clip_norm": None, **options})
