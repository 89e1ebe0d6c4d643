"""Demonstrations as a model is trained on them: sources (our bags, LeRobot, Bridge) and what is written from them."""
