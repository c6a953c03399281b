"""What networks are built of, and how they predict."""
