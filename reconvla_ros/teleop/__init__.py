"""Steering the arm by hand: devices, and what becomes of their readings."""
