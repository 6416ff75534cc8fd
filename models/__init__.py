"""What turns features into a decision: model bundles, backends, policies."""
