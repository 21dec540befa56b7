"""What came of a job: its output in other files, and a look at it."""
