"""What the tests take for Colab's package, in the shape of https://github.com/googlecolab/colabtools.

`google` has no `__init__.py`: other packages live in that name, too.
"""
