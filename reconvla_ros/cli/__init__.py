"""The command line: `reconvla X`."""
