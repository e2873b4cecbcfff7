"""The suite over many implementations, a cell for each area of it, on one machine or a cluster.

``run`` is where to start; ``worker`` imports little, because every worker imports it.
"""
