"""The tricks, one file each, in the folder of the last stage that each touches."""
