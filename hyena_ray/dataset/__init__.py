"""Prepared data: the Parquet schema, writing and reading it, token ids, augmentation of arrays."""
