"""From a folder of photos to the file that you upload: the portraits that are worth keeping."""
