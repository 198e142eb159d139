"""The trainer behind launch.py: settings, state, step, loop, checkpoints."""
