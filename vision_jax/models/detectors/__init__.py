"""Networks that answer with boxes, and masks and keypoints within them."""
