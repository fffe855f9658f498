"""Simulated data sets: sampling of plates and images, rendering and writing."""
