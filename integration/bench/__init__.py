"""`make bench`: the figures of ARCHITECTURE.md 5, of our socket and of others in the same run."""
