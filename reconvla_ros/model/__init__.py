"""The ReconVLA network without its reconstruction branch, in plain torch; imports without ROS."""
