"""All active phases of a step as one function, for tests that look at numbers only."""

from facejax.train.step import active_phases, make_phase_step


def make_step(system, stage, step=0):
    """(state, frozen, batch, scalars) -> (state, metrics)."""
    names = active_phases(system.phases(stage), step)
    phases = [make_phase_step(system, stage, name) for name in names]

    def whole(state, frozen, batch, scalars):
        metrics = {}
        for phase in phases:
            state, found = phase(state, frozen, batch, scalars)
            metrics |= found
        return state, metrics

    return whole
