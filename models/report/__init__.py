"""What the pages that people look at share: how they look, and what they are made of."""
