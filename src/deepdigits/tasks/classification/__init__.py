"""Code shared by the classifiers."""
