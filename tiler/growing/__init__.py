"""Learning land from a few pictures, and growing it to any size."""
