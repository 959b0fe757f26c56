"""The series as an app: sliders, a gallery and a history. Only notebooks import this."""
