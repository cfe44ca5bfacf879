"""From a store to files, and what can be seen and said of a job without rendering."""
