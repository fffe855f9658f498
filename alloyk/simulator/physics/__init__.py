"""Compute the counts of a detector from tabulated attenuation and spectra.

`tables` and `libraries` hold attenuation and spectra, `beam` the signal behind wedge and plate,
`plate` and `scene` the contents of the field, `forward` the expected signal and its variance,
`detector` noise, blur and counts. `validity` refuses set-ups for which the model does not hold.
"""
