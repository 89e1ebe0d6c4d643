"""RGB-D cameras behind one protocol."""
