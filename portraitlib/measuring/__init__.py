"""Measuring portraits: likeness, prompt fidelity and what pixels tell; sweeps and scoreboards."""
