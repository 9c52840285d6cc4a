"""Files of boxes and masks, read and checked without torch, so that a mistake in them is answered at once."""
