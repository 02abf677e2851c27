"""The cycle: the only place where core, datasets, carriers and store meet."""
