"""The trainer behind launch.py: step, compiled programs, loop, evaluation, curvature."""
