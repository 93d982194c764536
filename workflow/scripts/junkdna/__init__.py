"""The Junk DNA pipeline as a library: compression, transfer, evaluation, difficulty and statistics.

Nothing here imports Snakemake; every step can be called from Python or from the scripts beside this package.
"""
