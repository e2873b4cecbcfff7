"""Latency of predictions: prepared anywhere, collected on a device, judged anywhere.

Whatever stands in for a device says so in every record, and never under a device's name.
"""
