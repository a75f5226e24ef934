"""Presets, shipped as YAML."""
