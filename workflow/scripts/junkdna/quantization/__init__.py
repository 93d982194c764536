"""Quantization methods, one module each, alike in shape: weights only, a grid per row and group of inputs.

Like the pruning methods, but with ``weights(base, level, params, rule, tensors)``, which yields each weight's name and
new values, in the place of ``masks``: nothing is removed.
"""
