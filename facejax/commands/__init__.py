"""What a user types, one module per verb: `facejax VERB`, and launch/VERB.py in a checkout."""
