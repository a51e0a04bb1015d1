"""Prepared data: windows in Parquet, with token ids and labels of their bases.

`genome_windows` cuts a genome (`PrepareSettings`) and `sequences` reads labelled sequences
(`SequenceSettings`); both write Parquet files and a manifest (`manifest.Manifest`,
`Manifest.read`). `reader.PreparedData` opens a prepared folder and reads `schema.Windows`, and
`tokens` translates bases into token ids (`encode`, `decode`, `reverse_complement`).
"""
