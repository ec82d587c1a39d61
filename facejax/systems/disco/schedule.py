"""DiscoFaceGAN's published schedule, for `facejax.train.schedules.ProgressiveSchedule`."""

# four GPUs, the only number that the published program runs on; its first stage ends here
PUBLISHED = dict(
    num_devices=4, initial_resolution=8, training_kimg=600.0, transition_kimg=600.0,
    total_kimg=15000.0, minibatch_base=16,
    minibatch={8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 16},
    lr_base=0.001, lr={128: 0.0015, 256: 0.002},
)  # fmt: skip
CONTRAST_KIMG = 5000.0  # of the second stage; the program's own limit is 10,000
