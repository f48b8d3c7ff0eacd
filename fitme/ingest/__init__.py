"""Reading what the user brings: photos and videos, as upright 8-bit sRGB images of a working size."""
