"""LoRA fine-tuning: dataset, training loop, adapter versions."""
