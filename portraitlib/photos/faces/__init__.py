"""Faces in pictures: who finds them, and who tells people apart."""
