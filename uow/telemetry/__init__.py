"""What is said about the work while it goes on."""
