"""How the embedded model is made: its world, its trainings. Not in the wheel."""
