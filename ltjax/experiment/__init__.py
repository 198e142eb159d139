"""A config made into objects: settings, stages, schedules, recipes, initial weights."""
