"""hyena-ray: find non-B DNA with HyenaDNA on a Ray cluster, and the motifs the model relies on."""

__version__ = "0.1.0"
