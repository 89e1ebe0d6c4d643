"""Episodes on disk: one folder, one MCAP bag and one sidecar each."""
