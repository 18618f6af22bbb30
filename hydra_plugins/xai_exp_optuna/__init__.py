"""The Optuna sweeper as a plugin of Hydra."""
