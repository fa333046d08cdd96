"""Tricks of the post-training stage."""
