"""Training of one run: losses, schedules, stages, metrics and the loop. Knows no Ray."""
