"""What the lessons in `notebooks/` stand on: lanes, desks, figures, and checks of exercises."""
