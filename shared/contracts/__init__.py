"""The events each service publishes, one file per owner: the only thing services know of one another."""
