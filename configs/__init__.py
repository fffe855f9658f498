"""Experiments as YAML files; a package, so that an installed alloyk finds its default."""
