"""Child process that loads a model, so that a damaged model cannot harm the parent process."""
