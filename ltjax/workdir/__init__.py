"""What a run leaves on disk: config, metrics, result, checkpoints."""
