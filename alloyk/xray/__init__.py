"""Radiographs of aluminium plates behind a wedge, from tabulated physics, in NumPy.

Read from the bottom up: `tables` (attenuation, spectra) → `beam` (what the detector sees of a
spectrum behind wedge and plate) → `plate`, `scene` (what lies where in one image) → `forward`
(expected signal and its variance) → `detector` (noise, blur, counts) → `simulation` (data sets).
`parameters`, of the `kinds` that there are, and `presets` hold every number; `docs/simulator.md`
tells the story.
"""
