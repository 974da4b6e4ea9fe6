"""The commands of the command line, one idea a file. Each file imports its heavy parts when run."""
