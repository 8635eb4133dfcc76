"""What a model believed about a split, and what that is worth: beliefs in, measures out."""
