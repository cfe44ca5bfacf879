"""What is minimised: the backbone's features, their Gram statistics, and the losses on them."""
