"""A queue of posters: a folder of job files and stores."""
