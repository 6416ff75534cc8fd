"""Whether models are as good as published, trained on built features and scored by the worker."""
