"""Fine-tuning: which parameters of a trained network learn, and how little has to be saved of it.

`tuning` prepares a network for a method and folds it back; `branches` finds the parts that methods act on; `folder` keeps what
learned. Nothing is imported here: configurations are read without torch.
"""
