"""Reading of whole topics, outside of a consumer group."""
