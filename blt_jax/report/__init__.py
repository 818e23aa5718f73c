"""What a run leaves for its readers: records of a run, figures and reports."""
