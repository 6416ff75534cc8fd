"""Two workers on one input topic, champion and challenger: what they made of the same events."""
