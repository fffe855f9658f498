"""The reference ceiling: the accuracy of an ideal classifier under the simulator's own model.

`fisher` gives the covariance of a plate's two coefficients, `reference` the accuracy, `design` the
ceiling over set-up parameters, for `alloyk plan`.
"""
