"""What the data must meet before anything is trained on them."""
