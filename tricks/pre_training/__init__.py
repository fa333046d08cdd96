"""Tricks of the pre-training stage."""
