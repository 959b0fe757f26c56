"""Drawing: from words, from a picture, within a region, along edges, and again from a recipe."""
