"""What was asked for, read, checked and resolved once, into a job that nothing is left to decide about."""
