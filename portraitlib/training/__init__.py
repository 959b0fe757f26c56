"""Teaching a model a face: class images, DreamBooth, its checkpoints and its film."""
