"""One training over several processes, and over several passes: who holds what, who says what, and how it is saved."""
