"""The simulated PiPER: CAN codec, firmware model, physics, scene, shared state and the arm on a CAN bus."""
