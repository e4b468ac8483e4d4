"""The generated corpus of the mini recipe: options, sounds, voices, recording channels, augmentation and lists."""
