"""What pages that open from disk have in common: the frame and its style, drawing, and how numbers are shown."""
