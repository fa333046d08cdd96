"""Load classifiers, and find and change their parts."""
