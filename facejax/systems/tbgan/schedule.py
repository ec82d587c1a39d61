"""TBGAN's published schedules, for `facejax.train.schedules.ProgressiveSchedule`."""

# Published presets (TBGAN's config.py): GPUs, base batch, batches, learning rates, total kimg.
PUBLISHED = {
    "v1-1gpu": dict(
        num_devices=1, minibatch_base=16, minibatch={256: 14, 512: 6, 1024: 3},
        training_kimg=800.0, transition_kimg=800.0, total_kimg=19000.0,
    ),
    "v2-1gpu": dict(
        num_devices=1, minibatch_base=4,
        minibatch={4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        lr={1024: 0.0015}, total_kimg=12000.0,
    ),
    "v2-2gpus": dict(
        num_devices=2, minibatch_base=8,
        minibatch={4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        lr={512: 0.0015, 1024: 0.002}, total_kimg=12000.0,
    ),
    "v2-4gpus": dict(
        num_devices=4, minibatch_base=16,
        minibatch={4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        lr={256: 0.0015, 512: 0.002, 1024: 0.003}, total_kimg=16000.0,
    ),
    "v2-8gpus": dict(
        num_devices=8, minibatch_base=32, minibatch={4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        lr={128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}, total_kimg=12000.0,
    ),
}  # fmt: skip

# Caps of the original's 'fp32' and 'fp16' lines.
MAX_MINIBATCH = {"fp32": {256: 16, 512: 8, 1024: 4}, "fp16": {512: 16, 1024: 8}}
