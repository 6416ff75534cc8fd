"""Dead letters as people look at them, and send them to the input topic again."""
