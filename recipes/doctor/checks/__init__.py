"""The checks of the doctor, a module for each part of a run; importing one registers its checks."""
