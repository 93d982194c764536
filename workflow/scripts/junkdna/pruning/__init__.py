"""Pruning methods, one module each, alike in shape.

Each has ``compress(checkpoint, names, level, params, index) -> rule``, which finds the smallest description of what to
remove as plain JSON values with the exact number of ``zeros``, and ``masks(checkpoint, names, level, params, rule)``,
which yields each weight's name and mask (True = keep) from it, in the order of ``names``. A module that reads params
declares them as ``PARAMS``: name to the allowed values, or to the name of a type.
"""
