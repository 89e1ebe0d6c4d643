"""What the arm may do: limits, the filter, the supervisor, the lease. Pure: numpy only, time is an argument."""
