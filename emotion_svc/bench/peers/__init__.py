"""What a user would take instead of our engines, each set up as its own documentation says, with our schema."""
