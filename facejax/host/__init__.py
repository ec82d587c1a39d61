"""What the operating system gives: files, folders, locks, devices, and what goes wrong with them.

Below everything else: the standard library, numpy for arrays in files, jax for devices.
"""
