"""Thin ROS 2 nodes: subscribe, call the core, publish. Nobody imports this folder but the command line."""
