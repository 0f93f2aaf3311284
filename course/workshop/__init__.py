"""For teachers: a workshop in a box, the check of each seat, and a view of the room."""
