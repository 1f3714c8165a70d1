"""Peers: the same network behind other model servers, one small file each.

Every server decodes with `models.preprocessing.decode_image`, runs the champion with one thread
in each of as many processes as there are cores, and answers a POST of a raw JPEG with the seven
probabilities. `settings.py` holds what is set, with reasons; all else is left as it comes.

They run in an environment of their own (`environment.py`). Triton comes as the binary in the
wheel of nvidia-pytriton, with its Python backend. PyTriton itself is left out: it asks for
numpy 1, and its own Python stub does not start under each patch release of Python (with 3.11.7,
`'_thread.RLock' object has no attribute '_recursion_count'`).
"""
