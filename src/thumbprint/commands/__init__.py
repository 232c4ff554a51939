"""The commands of `thumbprint`, one file each: `add` gives it a place on the command line, and `run` does it."""
