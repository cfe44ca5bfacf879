"""What a render will take, whether it fits, and how fast this machine is."""
