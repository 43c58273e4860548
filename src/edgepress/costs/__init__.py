"""What an inference costs a device, each cost with its source."""
