"""MuJoCo, imported without its own choice of OpenGL: that choice is made, with readable errors, in `sim/render.py`.

With MUJOCO_GL set to something this machine lacks, a plain ``import mujoco`` fails deep inside PyOpenGL, even in a
process that renders nothing.
"""

import os

_asked = os.environ.get("MUJOCO_GL")
os.environ["MUJOCO_GL"] = "disable"
try:
    import mujoco
finally:
    if _asked is None:
        del os.environ["MUJOCO_GL"]
    else:
        os.environ["MUJOCO_GL"] = _asked

__all__ = ["mujoco"]
