"""Every test runs offline and on few threads; what is expensive is marked, and its tier is a line of the Makefile."""

import gc
import multiprocessing
import os

# Workers beside each other take a thread each; with more, they wait for one another and all is many times slower.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1" if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("OMP_NUM_THREADS", "2"),
    "TOKENIZERS_PARALLELISM": "false",
}

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--without-posix` runs all tests on an emoscene that has what Windows has."""
    parser.addoption("--without-posix", action="store_true", help="take away what only POSIX has (posix_removal.py)")


# torch and transformers keep millions of objects, which Python's own thresholds search for garbage again and again.
gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    """What was imported until now stays: the collector need not look at it again (a tenth of the suite's time)."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Take it away before a test imports emoscene, in pytest's own workers too."""
    if config.getoption("--without-posix"):
        import posix_removal

        posix_removal.take_away()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what tests a call of POSIX itself."""
    if config.getoption("--without-posix"):
        for item in items:
            if item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason="tests what --without-posix takes away"))


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """On a shared machine, default thread counts make tiny models many times slower."""
    import sys

    if torch := sys.modules.get("torch"):
        torch.set_num_threads(min(int(os.environ["OMP_NUM_THREADS"]), torch.get_num_threads()))


@pytest.fixture(scope="session")
def server() -> multiprocessing.context.ForkServerContext:
    """Forks processes from one that has imported what training needs, so that each costs a fraction of a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["emoscene.training.train"])
    first = context.Process(target=len, args=("",))
    first.start()
    first.join()
    return context
