"""TensorFlow's start-up and the output of native libraries."""
