"""Networks that somebody trained: published weights as files of ours, frozen recognisers."""
