"""Fine-tuning with the reconstruction loss: recipe, samples, network, checkpoints and the story (finetune)."""
