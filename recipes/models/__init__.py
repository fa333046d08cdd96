"""Make a classifier, and reach inside it."""
