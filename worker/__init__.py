"""The process that runs in the pod: one loop over the stages, from poll to checkpoint."""
