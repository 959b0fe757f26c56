"""Models: the table of presets, loading their weights, and adapters that change them."""
