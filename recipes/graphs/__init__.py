"""Replay the forward and backward pass of a part, shape by shape, as CUDA graphs."""
