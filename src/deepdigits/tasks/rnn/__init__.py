"""The recurrent classifier."""
