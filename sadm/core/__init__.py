"""What every layer stands on: errors for people, atomic files, seeds, configuration, progress, provenance."""
