"""What the network is asked: one file a method."""
