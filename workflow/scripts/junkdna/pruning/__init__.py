"""Pruning methods, one module each, alike in shape.

Each has ``compress(base, level, params) -> (rule, tensors)``, which finds the smallest description of what to remove:
plain JSON values with the exact number of ``zeros``, and tensors for what those cannot say; and ``masks(base, level,
params, rule, tensors)``, which yields each weight's name and mask (True = keep) from it, in the order of ``base.names``
and in the checkpoint's layout. A method that changes the weights that stay also has ``weights``, which yields their new
values. A calibrated one says ``CALIBRATED = True`` and has ``compress_levels`` for ``compress``. A module that reads
params declares them as ``PARAMS``: name to the allowed values, or to the name of a type.
"""
