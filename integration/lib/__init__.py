"""What the integration cases are made of: images, registries, nodes, daemons, and a census of the host."""
