"""Notebooks run one after another or many at once, and the pages that show what they made."""
