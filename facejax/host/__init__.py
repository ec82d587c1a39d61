"""What the operating system gives: files, folders, locks, devices, and what goes wrong with them.

Below everything else: standard library only, jax where a function is about devices.
"""
