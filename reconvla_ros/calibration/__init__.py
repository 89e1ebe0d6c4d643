"""Where the cameras sit: found from a ChArUco board, stored where tf reads it, checked later."""
