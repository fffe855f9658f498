"""Process-wide state: TensorFlow and its CPU kernels, matplotlib and fonts, native output."""
