"""What earlier runs have kept: keys and digests, the interface of a store, values loaded late."""
