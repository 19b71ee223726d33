"""From photos to a training set: find the person's face, refuse what would spoil training, cut, report."""
