"""Measurements with a verdict: `reconvla bench NAME`."""
