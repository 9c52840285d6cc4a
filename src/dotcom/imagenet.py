"""How images are normalised where nothing else is said: per channel, for values in [0, 1], as of ImageNet-1k."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
