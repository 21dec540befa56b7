"""Jobs in parts: one input, several processes or machines, an output file of each partition."""
