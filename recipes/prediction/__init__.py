"""Predict texts and files with a finished run."""
