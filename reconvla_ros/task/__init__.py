"""Tasks and the chunks made for them. Pure: time is an argument."""
