"""How the embedded model was made: the world that it learnt, the trainings, the exams, the card."""
