"""Jobs of Slurm as a plugin of Hydra."""
