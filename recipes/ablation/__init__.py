"""Ablations that can be trusted: which tricks help, hurt, fight, and what they cost."""
