"""Tricks of the in-training stage."""
