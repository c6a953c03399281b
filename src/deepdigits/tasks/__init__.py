"""What the pipeline does with images, one file per task: how each is judged, packaged and described."""
