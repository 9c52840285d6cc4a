"""What each rewrite of the network for deployment gains, in each runtime."""
