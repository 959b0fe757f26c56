"""The embedded model as it is used: weights, words, its readers. Not how it was made."""
