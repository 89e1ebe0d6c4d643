"""pip install of the Python package, for machines that need no ROS nodes (model, training, simulator, tools).

ROS builds the package with CMakeLists.txt (ament_cmake), because it holds messages: docs/decisions/0001-one-package.md.
"""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    lines = (here / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


setup(
    name="reconvla_ros",
    version="0.1.0",
    description="ReconVLA, a vision-language-action model, on the AgileX PiPER arm",
    long_description=(here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["reconvla_ros", "reconvla_ros.*"]),
    package_data={"reconvla_ros.policy": ["contracts/*.yaml"]},
    data_files=[
        (
            f"share/reconvla_ros/{folder}",
            [f"{folder}/{p.name}" for p in sorted((here / folder).iterdir()) if p.is_file()],
        )
        for folder in ("config", "config/recipes", "launch", "urdf")
    ],
    install_requires=requirements("base"),
    extras_require={"train": requirements("train")},
    entry_points={"console_scripts": ["reconvla = reconvla_ros.cli.main:main"]},
)
