"""A ReconVLA policy on an AgileX PiPER arm, as a ROS 2 package.

The road, in the order of the folders::

    camera -> observation -> policy -> action chunk -> (time) -> safety -> inverse kinematics -> CAN -> arm

The policy proposes, the driver disposes: only the driver process holds the arm, and the limits run there,
right before the bus. Everything in SI units and radians; device units exist only at the bus.
"""
