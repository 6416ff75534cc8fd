"""Pictures of the README and the documentation, drawn from committed results."""
