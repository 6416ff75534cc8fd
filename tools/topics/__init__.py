"""Reading of whole topics, outside a consumer group."""
