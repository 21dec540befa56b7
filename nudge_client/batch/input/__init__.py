"""What is asked: rows of files in several formats, good or bad, one at a time."""
