"""Scores of a whole genome: windows over pieces of contigs, tracks, regions. Knows no Ray."""
