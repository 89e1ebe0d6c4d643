"""From streams of stamped samples to one Observation, or a refusal that says why; live and recorded data alike."""
