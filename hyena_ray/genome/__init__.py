"""Genomes and regions: read, simulated, cut into tiles and split.

`contigs` reads FASTA, 2bit or an assembly by name (`open_genome`), `region_files` reads BED, peaks
and bigBed (`read_regions`), and `intervals` turns them into arrays over bases (`Intervals`,
`label_bases`, `gather_windows`). `tiling` and `splits` cut contigs into tiles and assign them to
splits (`cut_tiles`, `parse_split`), `negatives` draws tiles without a label (`NegativeSampler`),
`untrained` calls tracts (`UNTRAINED_PREDICTORS`), `bigwig` writes tracks (`create_bigwig`),
`signal_tracks` reads those of a user as levels (`SignalReader`, `signal_scale.SignalScale`), and
`simulation` makes genomes and promoters in which the answer is known (`simulate_genome`,
`simulate_promoters`). Coordinates are 0-based and half-open; bases are codes A C G T = 0 1 2 3,
anything else 4.
"""
