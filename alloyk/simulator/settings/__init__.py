"""The simulator's parameters: definitions, field types, presets and overrides."""
