"""From the answer's schema to probabilities: language, index, slots, posteriors, choice."""
