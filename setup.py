"""Builds the kernels of ``coreml_assay.numerics.native``; all else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/coreml_assay/numerics/native")
# No fused multiply-add and nothing of "fast math": the kernels equal numpy bit for bit. Only what
# changes no result is switched off: errno, and the flags that floating-point operations raise.
GNU_FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-ffp-contract=off"]
GNU_FLAGS += ["-fno-math-errno", "-fno-trapping-math"]
MICROSOFT_FLAGS = ["/O2", "/fp:precise"]


class BuildKernels(build_ext):
    """Compiles with the compiler's own flags; the library holds no Python module."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link the library."""
        microsoft = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MICROSOFT_FLAGS if microsoft else GNU_FLAGS
        super().build_extension(ext)

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """None but those marked in the source; by default a module's entry is looked for."""
        return []


setup(
    ext_modules=[
        Extension(
            "coreml_assay.numerics.native._kernels",
            sources=sorted(str(path) for path in FOLDER.glob("*.c")),
            depends=sorted(str(path) for path in FOLDER.glob("*.h")),
            optional=True,  # without a C compiler PyTorch does the work
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
