"""Optimisers without a learning rate: the trainer multiplies by -scalars['lr/<group>']."""

import optax


def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with a unit learning rate.

    Args:
      b1: decay of the first moment. With 0, as in progressive GANs, no first moment is stored:
        a third less memory for the optimiser and its checkpoints.
      b2: decay of the second moment.
      eps: added to the root of the bias-corrected second moment.
    """
    if b1 == 0.0:
        return optax.scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True)
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
