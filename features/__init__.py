"""What the model sees: one definition of a feature, used online, in replay and in training."""
