"""The package, its requirements and its extras; tools/environment.py reads the two names below without setuptools."""

import re
from pathlib import Path

REQUIREMENTS = [
    "torch==2.11.*",
    "torchaudio==2.11.*",
    "kaldiio",
    "numpy",
    "scipy",
    "soundfile",
    "pyyaml",
    "tqdm",
]
EXTRAS = {
    "cluster": ["scikit-learn", "fastcluster"],
    "report": ["matplotlib", "tensorboard", "scikit-learn"],
    "export": ["onnx", "onnxruntime"],
    "dev": ["pytest", "hypothesis", "ruff==0.17.*", "mypy==2.4.*", "types-PyYAML", "scipy-stubs"],
}

if __name__ == "__main__":
    from setuptools import find_packages, setup

    version = re.search(
        r'^__version__ = "(.+)"$', Path("sslsv_tk/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert version is not None
    setup(
        name="sslsv_tk",
        version=version[1],
        description="Staged recipes that train speaker-verification models from audio without labels",
        long_description=Path("README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        author="the sslsv_tk authors",
        license="MIT",
        python_requires=">=3.11",
        packages=find_packages(include=["sslsv_tk", "sslsv_tk.*"]),
        install_requires=REQUIREMENTS,
        extras_require=EXTRAS,
    )
