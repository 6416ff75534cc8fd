"""Child process that opens a model, so that no model can harm its parent process."""
