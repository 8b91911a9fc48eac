"""A guest whose activity wanders by known processes."""

import numpy as np

from migsim.models.guest.activity import TIMES_S, activity, end_and_mean


def drawn_activities(deviations, lengths_s, seed=3):
    """Activities of rounds, drawn by the law that the engines draw them by."""
    rng = np.random.default_rng(seed)
    levels, activities = rng.standard_normal(3), []
    for seconds in lengths_s:
        means = []
        for k, time_s in enumerate(TIMES_S):
            levels[k], mean = end_and_mean(levels[k], time_s, seconds, *rng.standard_normal(2))
            means.append(mean)
        activities.append(activity(deviations, tuple(means), seconds))
    return np.array(activities)
