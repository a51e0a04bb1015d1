"""Genomes: FASTA, intervals, labels, tiles, splits and negatives. Knows no Parquet and no torch."""
