"""What positive samplers are put together from: references, clusters, draws, partners, a queue, and their filling."""
