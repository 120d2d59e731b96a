"""Training of radiance fields. Its modules need PyTorch: `pip install oleaster[train]`.

The module `mesh` alone does not: it renders meshes in numpy.
"""
