"""What a model needs of a machine, before anything is bought or downloaded: memory, layouts, what makes it fit."""
