"""Makes a machine ready for reconvla_ros; standard library only, since it runs before anything is installed."""
