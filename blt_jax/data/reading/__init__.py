"""From a file to pixels: decode, crop, resize, substitute, cache."""
