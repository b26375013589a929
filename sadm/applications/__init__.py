"""What a factory asks a trained model for: more images of rare classes, defects, restored scans, variations."""
