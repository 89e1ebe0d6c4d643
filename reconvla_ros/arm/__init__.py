"""The arm: its facts, its protocol, kinematics, motion and the way to the bus."""
