"""The world of rendered people that the embedded model learns."""
