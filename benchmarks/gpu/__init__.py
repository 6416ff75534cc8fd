"""Proof of the CUDA path on one machine with a GPU, without network, broker or store."""
